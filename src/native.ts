/**
 * Loads the native layer: the addon, or its pure-TypeScript twin where there is none. Nobody else loads the addon.
 *
 * Environment variable FOOTAGE_NATIVE: `0` the twin, `1` the addon or an error; not set: the addon if it can be loaded,
 * else the twin and one warning (code FOOTAGE_NO_ADDON).
 */
import { createRequire } from 'node:module';
import path from 'node:path';
import process from 'node:process';
import type { Native, RawSender, RawSenderOptions, ScanResult, SendPoolState } from './native-types.ts';
import { twin } from './twin/index.ts';
import { checkCrcInput, checkDescriptors, checkScanRequest } from './twin/requests.ts';

export { twin };

/** What native/binding.cc exports. */
interface Binding {
  crc32c(data: Uint8Array, crc: number): number;
  scan(
    fd: number,
    from: number,
    to: number,
    seed: number,
    verify: boolean,
    resync: boolean,
    limit: number,
    cancel: Int32Array | undefined,
  ): Promise<ScanResult>;
  groupFlush(fds: Int32Array): Promise<Int32Array>;
  sendPool(): SendPoolState;
  readonly Sender: new (fd: number, softBarrier: number, hardBarrier: number, onHint: () => void) => RawSender;
}

/** The package's root: one level above `src/` and `dist/` alike. */
const PACKAGE_ROOT = path.join(import.meta.dirname, '..');

/** Loads the addon; throws if there is none for this platform. */
export function loadAddon(): Native {
  const load = createRequire(import.meta.url)('node-gyp-build') as (root: string) => Binding;
  return wrap(load(PACKAGE_ROOT));
}

function wrap(binding: Binding): Native {
  return {
    kind: 'addon',
    crc32c(data, crc = 0) {
      checkCrcInput(data, crc);
      return binding.crc32c(data, crc);
    },
    async scan(request) {
      checkScanRequest(request);
      const { fd, from, to, seed, verify, resync, limit, cancel } = request;
      return binding.scan(fd, from, to, seed, verify, resync, limit, cancel);
    },
    async groupFlush(fds) {
      checkDescriptors(fds);
      return binding.groupFlush(fds);
    },
    createSender: (fd: number, { softBarrier, hardBarrier, onHint }: RawSenderOptions) =>
      new binding.Sender(fd, softBarrier, hardBarrier, onHint),
    sendPool: () => binding.sendPool(),
  };
}

function addonOrTwin(): Native {
  try {
    return loadAddon();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    process.emitWarning(
      `The native addon cannot be loaded, so Footage runs slower, in TypeScript alone. Build it with \`npm run build:native\`, or set FOOTAGE_NATIVE=0. Reason: ${reason}`,
      { code: 'FOOTAGE_NO_ADDON' },
    );
    return twin;
  }
}

function choose(setting: string | undefined): Native {
  switch (setting) {
    case undefined:
    case '':
      return addonOrTwin();
    case '0':
      return twin;
    case '1':
      return loadAddon();
    default:
      throw new TypeError(`FOOTAGE_NATIVE must be 0 (never load the addon) or 1 (insist on it), not '${setting}'`);
  }
}

export const native: Native = choose(process.env['FOOTAGE_NATIVE']);
