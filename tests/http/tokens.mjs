/**
 * Keys and JSON Web Tokens, made by Node and not by the crate under test. Prints them as one
 * JSON object: `keys`, a JWK Set, and `tokens`, by name.
 */
import { createHmac, createPublicKey, generateKeyPairSync, randomBytes, sign } from 'node:crypto';

const base64 = (value) => Buffer.from(value).toString('base64url');
const json = (value) => base64(JSON.stringify(value));

const pairs = {
  RS256: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  EdDSA: generateKeyPairSync('ed25519'),
};
const other = generateKeyPairSync('rsa', { modulusLength: 2048 });
const secret = randomBytes(32);
const jwk = (name) => ({ ...pairs[name].publicKey.export({ format: 'jwk' }), kid: name, alg: name, use: 'sig' });
const keys = [
  jwk('RS256'),
  jwk('ES256'),
  jwk('EdDSA'),
  { kty: 'oct', k: secret.toString('base64url'), kid: 'HS256' },
  // For other purposes: they are passed over.
  { ...other.publicKey.export({ format: 'jwk' }), kid: 'encrypts', use: 'enc' },
  { kty: 'EC', crv: 'P-384', x: 'AA', y: 'AA', kid: 'P-384' },
];

const signers = {
  RS256: (text) => sign('sha256', text, pairs.RS256.privateKey),
  RS384: (text) => sign('sha384', text, pairs.RS256.privateKey),
  PS256: (text) => sign('sha256', text, { key: pairs.RS256.privateKey, padding: 6, saltLength: 32 }),
  ES256: (text) => sign('sha256', text, { key: pairs.ES256.privateKey, dsaEncoding: 'ieee-p1363' }),
  EdDSA: (text) => sign(null, text, pairs.EdDSA.privateKey),
  HS256: (text) => createHmac('sha256', secret).update(text).digest(),
  HS512: (text) => createHmac('sha512', secret).update(text).digest(),
  none: () => Buffer.alloc(0),
};

const now = Math.floor(Date.now() / 1000);
const claims = (more = {}) => ({ aud: 'events', exp: now + 600, sse: '/events/a.log', ...more });
const token = (header, payload = claims(), signer = signers[header.alg]) => {
  const text = `${json(header)}.${typeof payload === 'string' ? payload : json(payload)}`;
  return `${text}.${base64(signer(Buffer.from(text)))}`;
};

const good = {};
for (const alg of ['RS256', 'ES256', 'EdDSA', 'HS256']) {
  good[alg] = token({ alg, kid: alg, typ: 'JWT' });
  good[`${alg} without kid`] = token({ alg });
}
const by = (more, header = {}) => token({ alg: 'ES256', kid: 'ES256', ...header }, claims(more));
good['several audiences'] = by({ aud: ['x', 'events'] });
good['several prefixes'] = by({ sse: ['/x', '/events'] });
good['an object'] = by({ sse: { read: ['/events/'], publish: '/x' } });
good['nbf within the leeway'] = by({ nbf: now + 30 });
good['exp with a fraction'] = by({ exp: now + 600.5 });

const pem = (format, type) => pairs.RS256.publicKey.export({ format, type });
const confused = (key, header = {}) =>
  token({ alg: 'HS256', kid: 'RS256', ...header }, claims(), (text) => createHmac('sha256', key).update(text).digest());
const tamper = (name, part, change) => {
  const parts = good[name].split('.');
  parts[part] = change(parts[part]);
  return parts.join('.');
};
const ec = good.ES256.split('.');
const bad = {
  none: token({ alg: 'none' }),
  'none with kid': token({ alg: 'none', kid: 'HS256' }),
  None: token({ alg: 'None', kid: 'HS256' }, claims(), signers.none),
  'no alg': token({ kid: 'HS256' }, claims(), signers.HS256),
  'without signature': `${ec[0]}.${ec[1]}.`,
  'two parts': `${ec[0]}.${ec[1]}`,
  'four parts': `${good.ES256}.x`,
  'confused with PEM': confused(pem('pem', 'spki')),
  'confused with PKCS 1': confused(pem('pem', 'pkcs1')),
  'confused with DER': confused(pem('der', 'spki')),
  'confused with the modulus': confused(Buffer.from(jwk('RS256').n, 'base64url')),
  'confused with the point': confused(
    Buffer.concat([Buffer.from([4]), ...['x', 'y'].map((name) => Buffer.from(jwk('ES256')[name], 'base64url'))]),
    { kid: 'ES256' },
  ),
  'confused without kid': confused(pem('pem', 'spki'), { kid: undefined }),
  'an empty secret': confused(''),
  'another algorithm of the key: RS384': token({ alg: 'RS384', kid: 'RS256' }),
  'another algorithm of the key: PS256': token({ alg: 'PS256', kid: 'RS256' }),
  'another algorithm of the key: HS512': token({ alg: 'HS512', kid: 'HS256' }),
  'the kid of another key': token({ alg: 'ES256', kid: 'EdDSA' }),
  'an unknown kid': token({ alg: 'HS256', kid: 'unknown' }),
  'a path as kid': token({ alg: 'HS256', kid: '../../../../dev/null' }, claims(), (text) =>
    createHmac('sha256', '').update(text).digest(),
  ),
  'a query as kid': token({ alg: 'HS256', kid: "x' UNION SELECT 'k" }),
  'a list as kid': token({ alg: 'HS256', kid: ['HS256'] }),
  'a key for encryption': token({ alg: 'RS256', kid: 'encrypts' }, claims(), (text) =>
    sign('sha256', text, other.privateKey),
  ),
  'a key in the header': token(
    { alg: 'RS256', jwk: other.publicKey.export({ format: 'jwk' }), kid: 'RS256' },
    claims(),
    (text) => sign('sha256', text, other.privateKey),
  ),
  'a key elsewhere': token({ alg: 'RS256', jku: 'http://127.0.0.1:9/', x5u: 'http://127.0.0.1:9/' }, claims(), (text) =>
    sign('sha256', text, other.privateKey),
  ),
  crit: by({}, { crit: ['exp'] }),
  'crit b64': by({}, { crit: ['b64'], b64: true }),
  'zeros for a signature': `${ec[0]}.${ec[1]}.${base64(Buffer.alloc(64))}`,
  'a signature as DER': token({ alg: 'ES256', kid: 'ES256' }, claims(), (text) =>
    sign('sha256', text, pairs.ES256.privateKey),
  ),
  'another payload': tamper('ES256', 1, () => json(claims({ sse: '/' }))),
  'another header': tamper('HS256', 0, () => json({ alg: 'HS256' })),
  'half a signature': tamper('RS256', 2, (text) => text.slice(0, text.length / 2)),
  expired: by({ exp: now - 1 }),
  'no exp': by({ exp: undefined }),
  'exp as text': by({ exp: String(now + 600) }),
  'not yet': by({ nbf: now + 120 }),
  'nbf as text': by({ nbf: 'now' }),
  'no audience': by({ aud: undefined }),
  'another audience': by({ aud: 'event' }),
  'other audiences': by({ aud: ['x', 'y'] }),
  'no claim': by({ sse: undefined }),
  'a claim that is no path': by({ sse: true }),
  'another path': by({ sse: ['/events/b.log', '/event', 'events/a.log', '', '/events/a.lo'] }),
  'only publishes': by({ sse: { publish: ['/'] } }),
  'no JSON': token({ alg: 'HS256', kid: 'HS256' }, base64('x')),
  'an endless token': token({ alg: 'HS256', kid: 'HS256' }, claims({ x: 'x'.repeat(5_000) })).replace('.', '.'.repeat(9)),
};
const soon = by({ exp: now + 4 });
const publishes = by({ sse: { publish: ['/events'] } });
const issued = by({ iss: 'https://id.example' });
const several = { all: by({ sse: '/dashboard' }), log: by({ sse: ['/dashboard/log', '/other'] }) };

console.log(JSON.stringify({ keys: { keys }, good, bad, soon, publishes, issued, several }));
