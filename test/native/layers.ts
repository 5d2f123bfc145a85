/** Both implementations of the native contract, for `describe.each`. */
import type { Native } from '../../src/native-types.ts';
import { loadAddon, twin } from '../../src/native.ts';

export const LAYERS: readonly (readonly [string, Native])[] = [
  ['addon', loadAddon()],
  ['twin', twin],
];
