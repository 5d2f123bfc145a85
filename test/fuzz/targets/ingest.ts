/** What comes from ffmpeg and from users when cameras are recorded: the pipe of a track, parameter sets, addresses. */
import { FragmentStream } from '../../../src/ingest/fragment-stream.ts';
import { hideSecrets } from '../../../src/ingest/secrets.ts';
import { TrackFeed } from '../../../src/ingest/track-feed.ts';
import type { FuzzTarget } from '../target.ts';
import { BOX_TYPES, mutateBoxes } from './boxes.ts';
import { expectThat } from './expect.ts';

/** Pieces in which a pipe may bring its bytes. */
const PIECE_BYTES = [1, 7, 1000, 65_536];

/** Reads the pipe of a track, as that of a camera; its frames are looked into for parameter sets. */
export const pipe: FuzzTarget = {
  name: 'pipe',
  corpora: ['pipe', 'movie'],
  words: BOX_TYPES,
  finish: mutateBoxes,
  run: (bytes) => {
    let feed: TrackFeed | undefined;
    let taken = 0;
    const stream = new FragmentStream({
      track: (track) => {
        feed = new TrackFeed(0, track);
      },
      sample: (sample) => {
        taken += sample.data.length;
        expectThat(taken <= bytes.length * 2, 'samples are not more than was sent');
        const frame = feed?.frame(sample, 0);
        expectThat(Number.isSafeInteger(frame?.dts), 'times are safe integers');
        expectThat((frame?.durationTicks ?? 0) >= 0, 'durations are not negative');
      },
    });
    const length = PIECE_BYTES[bytes.length % PIECE_BYTES.length] ?? 1;
    for (let at = 0; at < bytes.length; at += length) stream.push(Uint8Array.from(bytes.subarray(at, at + length)));
  },
};

const MARK = 'Qk7zJ3wX';
const ADDRESSES = [
  `rtsp://admin:${MARK}@10.0.0.5:554/Streaming/Channels/401?transport=tcp`,
  `rtsp://10.0.0.5/user=admin&password=${MARK}&channel=1`,
  `http://10.0.0.5/x.cgi?user=admin&pwd=${MARK}`,
  `rtmp://live.example/app/${MARK}`,
  `srt://[fe80::1]:9000?passphrase=${MARK}&streamid=#!::u=admin`,
  `async:http://a%40b:${MARK}@h/`,
];

/** Any text as an address; behind a user name the mark is a password, whatever stands around it. */
export const addresses: FuzzTarget = {
  name: 'addresses',
  corpora: [],
  maxBytes: 512,
  seeds: () => ADDRESSES.map((address) => Buffer.from(address)),
  words: [
    'rtsp://',
    '@',
    ':',
    '/',
    '?',
    '#',
    '%',
    '%40',
    '&',
    '=',
    'user=',
    'password=',
    '[::1]',
    '\\',
    "'",
    '\ud800',
    MARK,
  ],
  run: (bytes) => {
    const text = bytes.toString('utf8');
    const { shown, redact } = hideSecrets(text);
    expectThat(!redact(`cannot open '${text}'`).includes(text) || shown === text, 'the address is not repeated');
    const around = text.replaceAll(MARK, '');
    for (const address of [`rtsp://u:${around}${MARK}@10.9.8.7/x`, `rtmp://h/app/${MARK}${around}`]) {
      const hidden = hideSecrets(address);
      expectThat(!hidden.shown.includes(MARK), 'a secret is not shown');
      expectThat(!hidden.redact(`'${address}' failed, ${MARK}`).includes(address), 'nor in messages');
    }
  },
};
