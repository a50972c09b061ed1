// A stock Sparkplug B client as an edge node: births on request, then some data; dies when told.
const sparkplug = require("sparkplug-client");

const client = sparkplug.newClient({
  serverUrl: `mqtt://127.0.0.1:${process.argv[2]}`,
  username: "",
  password: "",
  groupId: "plant",
  edgeNode: "kiln",
  clientId: "stock-node",
  publishDeath: true,
});
const at = 1790000000123;

function births() {
  client.publishNodeBirth({
    timestamp: at,
    metrics: [
      { name: "Node Control/Rebirth", type: "Boolean", value: false },
      { name: "load", type: "Double", value: 41.25 },
      { name: "below", type: "Int16", value: -321 },
    ],
  });
  client.publishDeviceBirth("meter", {
    timestamp: at,
    metrics: [
      { name: "total", alias: 7, type: "UInt64", value: 9876543210 },
      { name: "power", alias: 8, type: "Float", value: 1.5 },
      { name: "open", alias: 9, type: "Boolean", value: true },
    ],
  });
  for (let n = 1; n <= 300; n += 1) {
    client.publishDeviceData("meter", {
      timestamp: at + n,
      metrics: [{ alias: 8, type: "Float", value: n + 0.5 }],
    });
  }
  client.publishNodeData({
    timestamp: at + 301,
    metrics: [{ name: "below", type: "Int16", value: -5, isHistorical: true }],
  });
}

client.on("birth", births);
client.on("ncmd", births);
process.stdin.on("data", () => client.stop());
process.stdin.on("end", () => process.exit(0));
