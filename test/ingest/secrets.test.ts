/** Nothing of a password, a token or a key to a stream is shown, however an address is written. */
import { describe, expect, test } from 'vitest';
import { hideSecrets, isAddress } from '../../src/ingest/secrets.ts';
import { Random } from '../fuzz/random.ts';

const shownOf = (input: string): string => hideSecrets(input).shown;

describe('the address that is shown', () => {
  test.each([
    ['rtsp://admin:s3cret@10.0.0.5:554/Streaming/Channels/401', 'rtsp://10.0.0.5:554/Streaming/Channels/401'],
    ['rtsp://admin@10.0.0.5/h264Preview_01_main', 'rtsp://10.0.0.5/h264Preview_01_main'],
    ['RTSPS://admin:s3cret@cam.example:322/live', 'RTSPS://cam.example:322/live'],
    ['rtsp://admin:s3cret@[fe80::1%eth0]:554/x', 'rtsp://[fe80::1%eth0]:554/x'],
    ['rtsp://[2001:db8::5]/x', 'rtsp://[2001:db8::5]/x'],
    ['rtsp://10.0.0.5/cam?channel=1&subtype=0', 'rtsp://10.0.0.5/cam?channel=1&subtype=0'],
    ['http://10.0.0.5/video.cgi?user=admin&pwd=s3cret', 'http://10.0.0.5/video.cgi?user=***&pwd=***'],
    ['http://10.0.0.5/video.cgi?c2VjcmV0==&profile=1', 'http://10.0.0.5/video.cgi?***&profile=1'],
    ['http://10.0.0.5/x?channel=1;password=s3cret', 'http://10.0.0.5/x?***'],
    ['http://10.0.0.5/x?#s3cret', 'http://10.0.0.5/x?#***'],
    ['http://10.0.0.5/x#', 'http://10.0.0.5/x#'],
    ['srt://10.0.0.5:9000?passphrase=s3cretsecret&mode=caller', 'srt://10.0.0.5:9000?passphrase=***&mode=caller'],
    ['srt://10.0.0.5:9000?streamid=#!::u=admin,s=s3cret', 'srt://10.0.0.5:9000?***#***'],
    ['rtmp://live.example/app/s3cret', 'rtmp://live.example/app/***'],
    ['rtmps://live.example/app/s3cret/', 'rtmps://live.example/app/***'],
    ['rtmp://live.example/s3cret', 'rtmp://live.example/***'],
    ['rtmp://live.example/app/s3/cret?x=1', 'rtmp://live.example/app/***?***'],
    ['rtmp://live.example/app playpath=s3cret', 'rtmp://live.example/***'],
    ['rtsp://10.0.0.5:554/user=admin_password=s3cret_channel=1_stream=0.sdp', 'rtsp://10.0.0.5:554/***'],
    ['rtsp://10.0.0.5/user=admin&password=s3/cret&channel=1', 'rtsp://10.0.0.5/***'],
    ['rtsp://10.0.0.5/user%3Dadmin%26password%3Ds3cret', 'rtsp://10.0.0.5/***'],
    ['rtsp://10.0.0.5/admin:s3cret/ch0', 'rtsp://10.0.0.5/***'],
    ['rtsps://192.168.1.1:7441/V4TTSbmnt7fUTvRk?enableSrtp', 'rtsps://192.168.1.1:7441/***?***'],
    ['rtsp://10.0.0.5/channel=1&stream=0/x', 'rtsp://10.0.0.5/channel=1&stream=0/x'],
  ])('of %s', (input, shown) => {
    expect(shownOf(input)).toBe(shown);
  });

  test.each([
    ['a password with a slash', 'rtsp://admin:s3/cret@10.0.0.5/x', 'rtsp://10.0.0.5/x'],
    ['a password with a question mark', 'rtsp://admin:s3?cret@10.0.0.5:554/x', 'rtsp://10.0.0.5:554/x'],
    ['a password with a hash', 'rtsp://admin:s3#cret@[fe80::1]/x', 'rtsp://[fe80::1]/x'],
    ['a password with an @', 'rtsp://admin:s3@cret@cam/x', 'rtsp://cam/x'],
    ['a password with an @ and a slash, and a host by name', 'rtsp://admin:s3@c/ret@cam/x', 'rtsp://***'],
    ['a password of digits and a slash', 'rtsp://admin:12/34@cam/x', 'rtsp://***'],
    ['a password in the path with an @', 'rtsp://10.0.0.5/user=a_password=s3@cret', 'rtsp://***'],
    ['an @ that is encoded', 'rtsp://admin:s3cret%4010.0.0.5/x', 'rtsp://***'],
    ['a user and a password without a host', 'rtsp://admin:s3cret', 'rtsp://***'],
    ['one slash', 'rtsp:/admin:s3cret@10.0.0.5/x', '10.0.0.5/x'],
    ['no scheme', 'admin:s3cret@10.0.0.5/x', '10.0.0.5/x'],
    ['a blank in front', ' rtsp://admin:s3cret@10.0.0.5/x', 'rtsp://10.0.0.5/x'],
    ['a protocol that wraps another', 'async:http://admin:s3cret@10.0.0.5/x', 'async:http://10.0.0.5/x'],
  ])('with %s', (_what, input, shown) => {
    expect(shownOf(input)).toBe(shown);
  });

  test.each(['/dev/video0', '/mnt/a:b@c/x.mp4', 'C:\\Users\\me@home\\x.mp4', 'C:/me@home/x.mp4', 'clip 1=2.mp4', ''])(
    'of %s, a path, is itself',
    (path) => {
      expect(isAddress(path)).toBe(false);
      const { shown, redact } = hideSecrets(path);
      expect(shown).toBe(path);
      expect(redact(`${path}: No such file`)).toBe(`${path}: No such file`);
    },
  );
});

describe('messages', () => {
  test('lose the address and each secret, however it is spelled', () => {
    const { redact, shown } = hideSecrets('rtsp://admin:p%40s%2fs%20w@10.0.0.5/x?token=abcXYZ');
    const basic = Buffer.from('admin:p@s/s w').toString('base64');
    const said = [
      "Impossible to open 'rtsp://admin:p%40s%2fs%20w@10.0.0.5/x?token=abcXYZ'",
      'user ADMIN, p@s/s w, p@s/s+w, p%40s%2Fs%20w, p@s/s%20w and AbCxYz',
      `Authorization: Basic ${basic}`,
    ];
    expect(redact(said.join('\n')).split('\n')).toEqual([
      `Impossible to open '${shown}'`,
      'user ***, ***, ***, ***, *** and ***',
      'Authorization: Basic ***',
    ]);
  });

  test('lose what ffmpeg makes of a password with a slash, and broken percent-encodings', () => {
    expect(hideSecrets('rtsp://admin:12/password@10.0.0.5/x').redact('GET /password: no')).toBe('GET /***: no');
    expect(hideSecrets('rtsp://admin:50%off%20now@10.0.0.5/x').redact('50%off now')).toBe('***');
    expect(hideSecrets('rtsp://a:\ud800bc@10.0.0.5/x').redact('got \ufffdbc')).toBe('got ***');
  });

  test('lose the values of secret options, and keep the others', () => {
    const { redact } = hideSecrets('srt://10.0.0.5:9000', { passphrase: 'opensesame', rtsp_transport: 'tcp' });
    expect(redact('tcp: Error setting option passphrase to value opensesame.')).toBe(
      'tcp: Error setting option passphrase to value ***.',
    );
  });
});

/** Characters that addresses, lists and patterns give a meaning to, beside plain ones. */
const CHARACTERS = Array.from('abcdefgXYZ0123456789@:/?#%&=+;,._-~!$()*[]{}|\\^\'"` ä密😀');
const FORMS: readonly ((secret: string) => string)[] = [
  (secret) => `rtsp://operator:${secret}@10.9.8.7:554/Streaming/Channels/1`,
  (secret) => `rtsp://${secret}@10.9.8.7/live`,
  (secret) => `rtsp://operator:${secret}@camera.example/live`,
  (secret) => `http://operator:${encodeURIComponent(secret)}@camera.example/live?channel=1`,
  (secret) => `http://camera.example/live?password=${encodeURIComponent(secret)}&channel=1`,
  (secret) => `http://camera.example/live?${encodeURIComponent(secret)}`,
  (secret) => `srt://camera.example:9000?passphrase=${secret}`,
  (secret) => `rtmp://camera.example/app/${secret}`,
  (secret) => `rtsp://camera.example/user=operator&password=${secret}&channel=1`,
  (secret) => `operator:${secret}@10.9.8.7/live`,
];

function secretOf(random: Random): string {
  // The mark is what is looked for: a piece of it in a word of the address would tell nothing.
  const around = () => Array.from({ length: random.below(5) }, () => random.pick(CHARACTERS)).join('');
  return `${around()}Qk${random.below(1e6)}${around()}zJ${random.below(1e6)}${around()}`;
}

test('nothing of a random secret is shown, and messages lose it', () => {
  const random = new Random(20_260_131);
  for (let i = 0; i < 4000; i++) {
    const secret = secretOf(random);
    const address = random.pick(FORMS)(secret);
    const { shown, redact } = hideSecrets(address);
    const [, first = '', second = ''] = /Qk(\d+).*zJ(\d+)/su.exec(secret) ?? [];
    const message = redact(`[tcp @ 0x1] ${address} failed; ${encodeURIComponent(secret)}: ${address}`);
    for (const text of [shown, message]) {
      expect(text, address).not.toContain(`Qk${first}`);
      expect(text, address).not.toContain(`zJ${second}`);
    }
  }
});

test.each([
  ['an address without its scheme', '//admin:hidden-word@camera/1', {}],
  ['a host without a scheme, with a query', 'camera/1?password=hidden-word', {}],
  ['a token that is a part of the path', 'rtsp://camera/live/token/hidden-word', {}],
  ['the value of an option that is not known to be harmless', 'rtsp://camera/live', { http_proxy: 'hidden-word' }],
])('%s is hidden', (_, input, options) => {
  const { shown, redact } = hideSecrets(input, options);
  expect(shown).not.toContain('hidden-word');
  expect(redact(`failed: ${input} with hidden-word`)).not.toContain('hidden-word');
});
