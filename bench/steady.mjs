/**
 * The steady state of many clients at one rate each: which of server and client sets the pace, and what the server needs
 * for it while nothing but sending happens. What comes before is told apart: connecting, requests, and filling the sockets.
 */
import { measureMiddle } from './client.mjs';
import { NGINX, OURS, PIPE, lengthOf, startFootage, startNginx, startPipe } from './peers.mjs';
import { cpuSeconds, lowerQuartile, writtenBytes } from './support.mjs';

/** 2 Mbit/s. */
export const RATE = 250_000;
/** What the limiters let through at once in the beginning: a second of it. */
const BURST_BYTES = RATE;
/** SO_RCVBUF of clients that pace themselves: half a second fits in, so that the server really has to wait for them. */
const RECEIVE_BUFFER_BYTES = 128 * 1024;
const CONNECTS_PER_SECOND = 500;
/** From the last header on, until the sockets are full and the bursts are over. */
const SETTLE_SECONDS = 5;

/** Who paces, and what the server and the client are told then. */
export const PACES = {
  client: {
    title: 'Paced by the clients: each reads at that rate, with an SO_RCVBUF of 128 KiB',
    client: ['-p', '-b', RECEIVE_BUFFER_BYTES],
    footage: [],
    nginx: '',
  },
  server: {
    title: `Paced by the server: the clients read as fast as they can; \`serve --session-rate ${RATE} --session-burst ${BURST_BYTES}\` beside \`limit_rate ${RATE}; limit_rate_after ${BURST_BYTES}\``,
    client: [],
    footage: ['--session-rate', RATE, '--session-burst', BURST_BYTES],
    nginx: `limit_rate ${RATE}; limit_rate_after ${BURST_BYTES};`,
  },
};

/** Starts one of peers.mjs for a pace. */
export function startPaced(name, pace, { folder, recorded, env = {} }) {
  if (name === PIPE) return startPipe(folder);
  if (name.startsWith(NGINX)) return startNginx(name, folder, PACES[pace].nginx);
  return startFootage(OURS, recorded, { serve: PACES[pace].footage, env });
}

/**
 * Options of client.c for `count` clients at RATE, measured for `seconds` when they have settled; each has a place of its own
 * in the file.
 */
export async function clientOptions(server, pace, { count, seconds, settle = SETTLE_SECONDS }) {
  const length = await lengthOf(server);
  const needed = BURST_BYTES + RATE * (2 * settle + count / CONNECTS_PER_SECOND + seconds) * 1.5;
  const part = Math.ceil(needed) + 8e6; // what socket buffers may hold besides
  if (part > length) throw new Error(`${length} bytes are too few for ${seconds} s: give --size-gb`);
  const load = ['-n', count, '-c', CONNECTS_PER_SECOND, '-s', part, '-f', length, '-r', RATE];
  return [...load, ...PACES[pace].client, '-w', settle, '-t', seconds];
}

/**
 * One round: { cpu: CPU-s/GB in the steady state, setUpSeconds: CPU before it, bytesPerSecond: what the server wrote,
 * rates: see client.mjs }.
 */
export async function measureSteady(client, server, options) {
  const before = cpuSeconds(server.pid);
  const borders = [];
  const read = () => {
    borders.push({ cpu: cpuSeconds(server.pid), written: writtenBytes(server.pid) });
  };
  const { seconds, rates } = await measureMiddle(client, server, options, { onSteady: read, onOver: read });
  const [steady, over] = borders;
  const written = over.written - steady.written;
  return {
    cpu: (over.cpu - steady.cpu) / (written / 1e9),
    setUpSeconds: steady.cpu - before,
    bytesPerSecond: written / seconds,
    rates,
  };
}

/** What several rounds of measureSteady come to. */
export function summary(rounds) {
  return {
    cpu: lowerQuartile(rounds.map(({ cpu }) => cpu)),
    setUpSeconds: lowerQuartile(rounds.map(({ setUpSeconds }) => setUpSeconds)),
    bytesPerSecond: Math.min(...rounds.map(({ bytesPerSecond }) => bytesPerSecond)),
    slowest: Math.min(...rounds.map(({ rates }) => rates.slowest)),
    fastest: Math.max(...rounds.map(({ rates }) => rates.fastest)),
    withinShare: Math.min(...rounds.map(({ rates }) => rates.withinShare)),
  };
}
