/** What one writes without Footage: a node:http server that pipes a file, or one range of it. Usage: node pipe-server.mjs FILE */
import { createReadStream, statSync } from 'node:fs';
import { createServer } from 'node:http';

const file = process.argv[2];
const { size } = statSync(file);

const server = createServer((request, response) => {
  const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
  const [start, end] = first === undefined ? [0, size - 1] : [Number(first), Number(last)];
  const status = first === undefined ? 200 : 206;
  response.writeHead(status, { 'content-type': 'video/mp4', 'content-length': end - start + 1 });
  createReadStream(file, { start, end }).pipe(response);
});
server.listen(0, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
