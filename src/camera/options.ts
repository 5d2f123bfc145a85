/** What a live camera is told: defaults, then checks. */
import { type CameraInput, ffmpegSource } from '../ingest/ffmpeg-source.ts';
import type { FrameSource } from '../ingest/source.ts';
import { checkKeys, type KeysOf } from '../option-keys.ts';
import { checkRecorderOptions, RECORDER_KEYS } from '../recorder/options.ts';
import type { RecorderOptions } from '../recorder/recorder.ts';

export interface CameraOptions extends Omit<RecorderOptions, 'startUtcMs'> {
  /** The address of a camera, with choices, or where else frames come from. */
  readonly source: string | CameraInput | FrameSource;
  /** `always` (default): from the beginning on, until it is stopped. `on-demand`: when it is started. */
  readonly record?: 'always' | 'on-demand';
  /** So much footage from before a recording was started goes first, at least, ms. Default 0. */
  readonly preEventMs?: number;
  /** Memory that it may take, bytes. Default 32 MiB. */
  readonly preEventBytes?: number;
  /** A recording that is stopped goes on for so long, ms, and then to the next sync sample. Default 0. */
  readonly postEventMs?: number;
  /** How long a camera may take to answer and to send its first sync sample, ms. Default 30 000. */
  readonly connectTimeoutMs?: number;
  /** Without a frame of the leading track for so long it is connected anew, ms. Default 10 000. */
  readonly stallTimeoutMs?: number;
  /** Without a sync sample for so long it is connected anew, ms. Default 60 000. */
  readonly keyframeTimeoutMs?: number;
}

export interface CheckedCameraOptions {
  readonly source: FrameSource;
  readonly record: 'always' | 'on-demand';
  readonly preEventMs: number;
  readonly preEventBytes: number;
  readonly postEventMs: number;
  readonly connectTimeoutMs: number;
  readonly stallTimeoutMs: number;
  readonly keyframeTimeoutMs: number;
  readonly recorder: RecorderOptions;
}

const { startUtcMs: _, ...CAMERA_RECORDER_KEYS } = RECORDER_KEYS;
const CAMERA_KEYS: KeysOf<CameraOptions> = {
  ...CAMERA_RECORDER_KEYS,
  source: true,
  record: true,
  preEventMs: true,
  preEventBytes: true,
  postEventMs: true,
  connectTimeoutMs: true,
  stallTimeoutMs: true,
  keyframeTimeoutMs: true,
};

const DEFAULTS = {
  preEventMs: 0,
  preEventBytes: 32 * 2 ** 20,
  postEventMs: 0,
  connectTimeoutMs: 30_000,
  stallTimeoutMs: 10_000,
  keyframeTimeoutMs: 60_000,
};
/** Of each number; longer timers than a day are no timers. */
const LIMITS: Readonly<Record<keyof typeof DEFAULTS, { readonly min: number; readonly max: number }>> = {
  preEventMs: { min: 0, max: 3_600_000 },
  preEventBytes: { min: 2 ** 16, max: 2 ** 34 },
  postEventMs: { min: 0, max: 86_400_000 },
  connectTimeoutMs: { min: 1000, max: 86_400_000 },
  stallTimeoutMs: { min: 1000, max: 86_400_000 },
  keyframeTimeoutMs: { min: 1000, max: 86_400_000 },
};

/** @throws TypeError, RangeError */
export function checkCameraOptions(options: CameraOptions): CheckedCameraOptions {
  checkKeys(options, CAMERA_KEYS, 'camera');
  const { source, record = 'always', ...rest } = options;
  if (record !== 'always' && record !== 'on-demand')
    throw new RangeError(`record is always or on-demand, not ${String(record)}`);
  const numbers = Object.fromEntries(
    Object.entries(LIMITS).map(([name, { min, max }]) => {
      const value = rest[name as keyof typeof DEFAULTS] ?? DEFAULTS[name as keyof typeof DEFAULTS];
      if (!(typeof value === 'number' && value >= min && value <= max)) {
        throw new RangeError(`${name} is a number from ${min} to ${max}, not ${String(value)}`);
      }
      return [name, value];
    }),
  ) as Record<keyof typeof DEFAULTS, number>;
  const recorder = Object.fromEntries(Object.entries(rest).filter(([name]) => !(name in DEFAULTS)));
  return { ...numbers, record, source: sourceOf(source), recorder: checkRecorderOptions(recorder) };
}

function sourceOf(source: CameraOptions['source']): FrameSource {
  if (typeof source === 'string') return ffmpegSource({ url: source });
  if (typeof source !== 'object' || source === null)
    throw new TypeError('source is an address, or where frames come from');
  return 'connect' in source ? source : ffmpegSource(source);
}
