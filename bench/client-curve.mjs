/**
 * CPU of the server process per gigabyte from 10 to 2,000 clients of 2 Mbit/s each, in the steady state: what a byte costs
 * should not depend on how many clients there are.
 */
import { makeArchive } from './archive.mjs';
import { buildClient } from './client.mjs';
import { NGINX, OURS, prepareFiles, startFootage, stopAll } from './peers.mjs';
import { PACES, RATE, clientOptions, measureSteady, startPaced, summary } from './steady.mjs';
import { alternate, table, withFolder } from './support.mjs';

export const title = 'CPU by number of clients';

const COUNTS = [10, 50, 200, 500, 1000, 2000];
const NAMES = [OURS, NGINX];
/** Few clients are measured for longer, up to three times: a socket buffer may hold seconds of one. */
const FEW_CLIENTS = 200;
const LONGEST = 3;
/**
 * When the work becomes less, V8 collects garbage three times, 8 s later: about 0.1 s of CPU, which is as much as 10 clients
 * cost in a minute. It belongs to what was before.
 */
const SETTLE_SECONDS_OF_FEW = 15;
/** Before the first point: code that is compiled as it is first used belongs to no point. */
const WARM_UP = { count: FEW_CLIENTS, seconds: 1 };

export function measure(options) {
  return measurePaces(Object.keys(PACES), options);
}

/** The curves of these paces, as text. */
export async function measurePaces(paces, { bytes, rounds, seconds }) {
  return withFolder(async (folder) => {
    const client = await buildClient(folder);
    const recorded = await makeArchive(folder, bytes);
    const ours = await startFootage(OURS, recorded);
    await prepareFiles(folder, recorded, ours).finally(ours.stop);
    const sections = [];
    for (const pace of paces) sections.push(await measurePace(pace, { folder, recorded, client, rounds, seconds }));
    return [introduction(rounds, seconds), ...sections].join('\n\n');
  });
}

function introduction(rounds, seconds) {
  return (
    `CPU-s/GB in a steady state of ${seconds} s, as in “CPU of paced clients”; with less than ${FEW_CLIENTS} clients up to ` +
    `${LONGEST} times as long, and begun ${SETTLE_SECONDS_OF_FEW} s after the last header. Lower quartile of ${rounds} alternating ` +
    `rounds. “/ 10” is the ratio to the same server with 10 clients.`
  );
}

async function measurePace(pace, { folder, recorded, client, rounds, seconds }) {
  const servers = {};
  try {
    for (const name of NAMES) servers[name] = await startPaced(name, pace, { folder, recorded });
    const warmUp = await clientOptions(servers[OURS], pace, WARM_UP);
    for (const name of NAMES) await measureSteady(client, servers[name], warmUp);
    const points = [];
    for (const count of COUNTS) points.push(await measurePoint(client, servers, pace, { count, rounds, seconds }));
    return `${PACES[pace].title}:\n\n${curve(points)}`;
  } finally {
    await stopAll(Object.values(servers));
  }
}

async function measurePoint(client, servers, pace, { count, rounds, seconds }) {
  const results = Object.fromEntries(NAMES.map((name) => [name, []]));
  const longer = Math.min(LONGEST, Math.max(1, FEW_CLIENTS / count));
  const few = count < FEW_CLIENTS ? { settle: SETTLE_SECONDS_OF_FEW } : {};
  const options = await clientOptions(servers[OURS], pace, { count, seconds: seconds * longer, ...few });
  const once = (name) => async () => {
    results[name].push(await measureSteady(client, servers[name], options));
  };
  await alternate(rounds, Object.fromEntries(NAMES.map((name) => [name, once(name)])));
  return { count, ours: summary(results[OURS]).cpu, nginx: summary(results[NGINX]).cpu };
}

function curve(points) {
  const [first] = points;
  const rows = points.map(({ count, ours, nginx }) => [
    count,
    ours.toFixed(3),
    (ours / first.ours).toFixed(2),
    nginx.toFixed(3),
    (nginx / first.nginx).toFixed(2),
    (ours / nginx).toFixed(2),
    `${(ours * ((count * RATE) / 1e9) * 100).toFixed(1)} %`,
  ]);
  return table(['clients', OURS, '/ 10', NGINX, '/ 10', 'Footage / nginx', 'Footage, of a processor'], rows);
}
