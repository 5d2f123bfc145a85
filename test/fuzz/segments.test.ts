/** Fuzzes segments: bytes of the format, scans, and whole archives of hostile files. */
import { fuzzTest } from './check.ts';
import { archives, format, scan } from './targets/segments.ts';

fuzzTest(format);
fuzzTest(scan);
fuzzTest(archives);
