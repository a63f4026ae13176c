// Asks a server, given as host:port, for the labels of one drawing of model "tiny", and prints the answer as JSON.
// Messages are those of tfs.proto, given second: the package has another name, the bytes are TensorFlow Serving's.
"use strict";

const grpc = require("@grpc/grpc-js");
const protobuf = require(require.resolve("protobufjs", { paths: [require.resolve("@grpc/proto-loader")] }));

const [target, proto] = process.argv.slice(2);
const messages = protobuf.loadSync(proto);
const PredictRequest = messages.lookupType("qdfast.tfs.PredictRequest");
const PredictResponse = messages.lookupType("qdfast.tfs.PredictResponse");

const tensor = (dtype, sizes, values) => ({
  dtype,
  tensorShape: { dim: sizes.map((size) => ({ size })) },
  intVal: values,
});
const request = PredictRequest.create({
  modelSpec: { name: "tiny", signatureName: "top_k" },
  inputs: {
    deltas: tensor(5, [1, 3, 3], [3, 4, 0, 5, -2, 0, 1, 1, 1]), // DT_INT16
    lengths: tensor(3, [1], [3]), // DT_INT32
  },
});

const client = new grpc.Client(target, grpc.credentials.createInsecure());
client.makeUnaryRequest(
  "/tensorflow.serving.PredictionService/Predict",
  (message) => Buffer.from(PredictRequest.encode(message).finish()),
  (bytes) => PredictResponse.decode(bytes),
  request,
  { deadline: Date.now() + 30000 },
  (error, response) => {
    if (error) {
      console.error(error.message);
      process.exit(1);
    }
    const { labels, scores } = response.outputs;
    const names = labels.stringVal.map((label) => Buffer.from(label).toString());
    console.log(JSON.stringify({ labels: names, scores: Array.from(scores.floatVal) }));
    client.close();
  },
);
