// What the child processes of processes.test.ts share: downloads that are held in mid-transfer.
import { once } from 'node:events';
import http from 'node:http';

/** Begins a download and stops reading after its first bytes. */
export async function beginDownload(port, path) {
  const request = http.get({ host: '127.0.0.1', port, path, agent: false });
  request.on('error', () => {});
  const [response] = await once(request, 'response');
  const chunks = [];
  const download = { worker: response.headers['x-worker'], cut: false, bytes: () => Buffer.concat(chunks) };
  download.ended = new Promise((resolve) => {
    response.on('data', (chunk) => chunks.push(chunk));
    response.on('error', () => (download.cut = true));
    response.on('close', () => {
      download.cut ||= !response.complete;
      resolve();
    });
  });
  await once(response, 'data');
  response.pause();
  /** Reads on, to the end or the cut; gives what has come. */
  download.finish = async () => {
    response.resume();
    await download.ended;
    return download.bytes();
  };
  return download;
}

/** @throws if what has come is not the beginning of the answer */
export function checkPrefix(bytes, whole) {
  if (!bytes.equals(whole.subarray(0, bytes.length))) throw new Error('wrong bytes');
}

export function checkWhole(bytes, whole) {
  checkPrefix(bytes, whole);
  if (bytes.length !== whole.length) throw new Error(`${bytes.length} bytes of ${whole.length}`);
}
