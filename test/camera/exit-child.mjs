/** Connects and closes live cameras with the built library; must end by itself: nothing of them may still run. */
import { openArchive } from '../../dist/index.js';

const [folder] = process.argv.slice(2);
const archive = await openArchive(folder);
const untilAborted = (signal) =>
  new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }));
const track = {
  ...{ kind: 'video', codec: 'avc1.640028', timescale: 90_000, width: 640, height: 360 },
  config: Uint8Array.of(1, 0x64, 0, 0x28, 0xff, 0xe0, 0),
};

async function* frames() {
  for (let i = 0; ; i++) {
    const arrivalMs = performance.now() - 60_000 + i * 40;
    yield { track: 0, data: new Uint8Array(300), dts: i * 3600, compositionOffset: 0, sync: i % 10 === 0, arrivalMs };
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

const sources = {
  silent: { description: 'silent', connect: untilAborted },
  refused: { description: 'refused', connect: () => Promise.reject(new Error('refused')) },
  online: {
    description: 'online',
    connect: async () => ({ tracks: [track], frames: frames(), notes: [], close: async () => undefined }),
  },
};
const cameras = Object.entries(sources).map(([name, source]) => archive.camera(name, { source }));
const find = (name) => cameras.find((camera) => camera.name === name);
while (!(find('online').health().recording && find('refused').health().state === 'waiting')) {
  await new Promise((resolve) => setTimeout(resolve, 10));
}
await archive.close();
process.stdout.write(cameras.map((camera) => camera.health().state).join(' '));
