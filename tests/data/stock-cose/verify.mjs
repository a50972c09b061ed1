// Verifies a COSE_Sign1 message from standard input with an Ed25519 key given as base64url.
import { readFileSync } from "node:fs";
import { importJWK } from "jose";
import { Sign1 } from "@auth0/cose";

const key = await importJWK({ kty: "OKP", crv: "Ed25519", x: process.argv[2] }, "EdDSA");
try {
  const message = Sign1.decode(readFileSync(0));
  await message.verify(key);
  console.log("verified", message.payload.length);
} catch (error) {
  console.log("refused", error.message);
  process.exit(1);
}
