// Another people's OPC UA server for the driver's tests. One JSON argument sets it up; JSON lines
// on stdin drive it: {"set": name, "value": 1.5, "ms": time, "status": "Good"}, {"remove": name},
// {"add": name}, {"drop_sessions": true}. Each is answered by the line "done"; the first line printed is "ready".
import readline from "node:readline";
import { OPCUACertificateManager } from "node-opcua-certificate-manager";
import { MessageSecurityMode, SecurityPolicy } from "node-opcua-secure-channel";
import { OPCUAServer } from "node-opcua-server";
import { StatusCodes } from "node-opcua-status-code";
import { DataType, VariantArrayType } from "node-opcua-variant";

const setup = JSON.parse(process.argv[2]);
const modes = { None: MessageSecurityMode.None, Sign: MessageSecurityMode.Sign, SignAndEncrypt: MessageSecurityMode.SignAndEncrypt };
const certificates = new OPCUACertificateManager({ rootFolder: setup.folder, automaticallyAcceptUnknownCertificate: true });
await certificates.initialize();
const server = new OPCUAServer({
  port: setup.port,
  hostname: "127.0.0.1",
  alternateHostname: ["127.0.0.1"],
  serverCertificateManager: certificates,
  userCertificateManager: certificates,
  securityPolicies: (setup.policies ?? ["None"]).map((name) => SecurityPolicy[name]),
  securityModes: (setup.modes ?? ["None"]).map((name) => modes[name]),
  allowAnonymous: setup.anonymous ?? true,
  userManager: { isValidUser: (name, password) => name === "reader" && password === "sésame" },
  maxConnectionsPerEndpoint: 20,
});
await server.initialize();
const space = server.engine.addressSpace;
for (const uri of setup.before ?? []) space.registerNamespace(uri);
const namespace = space.registerNamespace("urn:test:potline");
const folder = namespace.addFolder("ObjectsFolder", { browseName: "Line" });
const kinds = { v: "Double", n: "Int64", wave: "Double", text: "String", range: "Double" };
const nodes = {};

function add(name) {
  const isArray = name === "wave";
  const options = {
    componentOf: folder,
    browseName: name,
    nodeId: `s=${name}`,
    dataType: kinds[name] ?? "Double",
    valueRank: isArray ? 1 : -1,
    minimumSamplingInterval: 0, // report every change
  };
  nodes[name] =
    name === "range"
      ? namespace.addAnalogDataItem({ ...options, engineeringUnitsRange: { low: 0, high: 100 }, engineeringUnits: { namespaceUri: "http://www.opcfoundation.org/UA/units/un/cefact", unitId: 4408652, displayName: "degC", description: "degC" } })
      : namespace.addVariable(options);
  if (setup.history) space.installHistoricalDataNode(nodes[name], { maxOnlineValues: 100000 });
}

function set({ set: name, value, ms, status }) {
  const variant = { dataType: DataType[kinds[name] ?? "Double"], arrayType: VariantArrayType.Scalar, value };
  if (kinds[name] === "Int64") variant.value = [Math.floor(value / 2 ** 32), value % 2 ** 32];
  if (name === "wave") Object.assign(variant, { arrayType: VariantArrayType.Array, value: Float64Array.from(value) });
  nodes[name].setValueFromSource(variant, StatusCodes[status ?? "Good"], ms === undefined ? new Date() : new Date(ms));
}

for (const name of setup.nodes ?? ["v", "n", "wave", "text", "range"]) add(name);
await server.start();
readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const command = JSON.parse(line);
  if (command.set) set(command);
  if (command.remove) space.deleteNode(nodes[command.remove]);
  if (command.add) add(command.add);
  if (command.drop_sessions) for (const session of Object.values(server.engine._sessions)) server.engine.closeSession(session.authenticationToken, true, "Terminated");
  console.log("done");
}).on("close", () => process.exit(0));
console.log("ready");
