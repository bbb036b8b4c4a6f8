// What a program written for Azure does with one of its JavaScript clients, printed as JSON.
// Runs in a folder where the client is installed: client.mjs PACKAGE ENDPOINT KEY, with a request
// on standard input.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [name, endpoint, key] = process.argv.slice(2);
const { series } = JSON.parse(readFileSync(0, "utf-8"));
const load = createRequire(process.cwd() + "/");
const operations = ["entire", "last", "changepoint"];
const insecure = { allowInsecureConnection: true };

async function rest() {
  const create = load(name).default;
  const client = create(endpoint, { key });
  const post = async (operation, body) => {
    const response = await client.path(`/timeseries/${operation}/detect`).post({ body, ...insecure });
    return response.status === "200"
      ? response.body
      : { status: Number(response.status), ...response.body, header: response.headers["x-ms-error-code"] };
  };
  const body = { series, granularity: "daily" };
  const found = {};
  for (const operation of operations) found[operation] = await post(operation, body);
  found.refused = await post("entire", { ...body, series: series.slice(0, 5) });
  return found;
}

async function classic() {
  const { AnomalyDetectorClient } = load(name);
  const { AzureKeyCredential } = load("@azure/core-auth");
  const client = new AnomalyDetectorClient(endpoint, new AzureKeyCredential(key), insecure);
  const points = series.map((each) => ({ timestamp: new Date(each.timestamp), value: each.value }));
  const calls = {
    entire: (body) => client.detectEntireSeries(body, { requestOptions: insecure }),
    last: (body) => client.detectLastPoint(body, { requestOptions: insecure }),
    changepoint: (body) => client.detectChangePoint(body, { requestOptions: insecure }),
  };
  const attempt = async (call, body) => {
    try {
      return await call(body);
    } catch (error) {
      return { status: error.statusCode, code: error.code, text: String(error.message) };
    }
  };
  const body = { series: points, granularity: "daily" };
  const found = {};
  for (const operation of operations) found[operation] = await attempt(calls[operation], body);
  found.refused = await attempt(calls.entire, { ...body, series: points.slice(0, 5) });
  return found;
}

console.log(JSON.stringify(await (name.startsWith("@azure-rest/") ? rest() : classic())));
