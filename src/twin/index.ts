/**
 * The pure-TypeScript twin of the addon: the same contract, on every platform, without sendfile (the stream sender does
 * that work).
 */
import type { Native } from '../native-types.ts';
import { crc32c } from './crc32c.ts';
import { groupFlush } from './flush.ts';
import { checkCrcInput, checkDescriptors, checkScanRequest } from './requests.ts';
import { scan } from './scan.ts';

export const twin: Native = {
  kind: 'twin',
  crc32c(data, crc = 0) {
    checkCrcInput(data, crc);
    return crc32c(data, crc);
  },
  async scan(request) {
    checkScanRequest(request);
    return scan(request);
  },
  async groupFlush(fds) {
    checkDescriptors(fds);
    return groupFlush(fds);
  },
  createSender: undefined,
  sendPool: undefined,
};
