// An authorization server of oidc-provider's, for the tests of the gateway.
//
// Everything that speaks OAuth 2.0 here is oidc-provider's: the client authentication, the client credentials,
// authorization code and refresh token grants, and the introspection and revocation endpoints. Storage is its memory
// adapter. Whoever comes to the authorization endpoint is jane, and consents to what is asked.
//
// The first line on stdout is the URL of the server, which listens on a free port of 127.0.0.1.
//
// KEY_CLIENT_JWKS, if set, is the JSON Web Key Set (RFC 7517) of the public keys of key-client, which signs in with
// private_key_jwt. Without it there is no key-client.
//
// TLS_CERTIFICATE and TLS_KEY, if set, are files with the certificate and the key of the server, which speaks TLS then, and
// asks its clients for certificates. CERTIFICATE_JWKS is the JSON Web Key Set with the certificate of certificate-app and
// certificate-gateway, with which they sign in (RFC 8705 section 2.2). The access tokens of certificate-app are bound to it.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';

import Provider from 'oidc-provider';

const SCOPES = ['orders:read', 'orders:write'];
const RESOURCES = {
	'https://orders.example.com': 'opaque',
	'https://jwt.example.com': 'jwt',
};

function clients() {
	// A resource server, which asks for no token of its own.
	const asking = (client) => ({
		grant_types: [], response_types: [], redirect_uris: [], ...client,
	});
	// A secret holds nothing but printable ASCII (RFC 6749 appendix A.2): a client with another one is refused.
	const list = [
		asking({ client_id: 'gateway', client_secret: 'gateway-secret_0.1~oidc-provider' }),
		asking({ client_id: 'gateway-2', client_secret: 'p@ss w+rd/%:& ' }),
		asking({
			client_id: 'post-client',
			client_secret: 'post-secret p@ss w+rd/%:& ',
			token_endpoint_auth_method: 'client_secret_post',
		}),
		asking({
			client_id: 'jwt-client',
			client_secret: 'jwt-client-secret-of-more-than-32-bytes',
			token_endpoint_auth_method: 'client_secret_jwt',
		}),
		asking({ // its answers are encrypted with a key that is made of its secret
			client_id: 'encrypted-client',
			client_secret: 'encrypted-client-secret-of-more-than-32-bytes',
			introspection_encrypted_response_alg: 'A256KW',
		}),
		{
			client_id: 'orders-app',
			client_secret: 'orders-app-secret',
			grant_types: ['client_credentials', 'authorization_code', 'refresh_token'],
			response_types: ['code'],
			redirect_uris: ['https://orders.example.com/callback'],
		},
		{
			client_id: 'brief-app', // its tokens live for a second
			client_secret: 'brief-app-secret',
			grant_types: ['client_credentials'],
			response_types: [],
			redirect_uris: [],
		},
	];
	if (process.env.KEY_CLIENT_JWKS) {
		list.push(asking({
			client_id: 'key-client',
			token_endpoint_auth_method: 'private_key_jwt',
			jwks: JSON.parse(process.env.KEY_CLIENT_JWKS),
		}));
	}
	if (process.env.CERTIFICATE_JWKS) {
		const certified = {
			token_endpoint_auth_method: 'self_signed_tls_client_auth',
			jwks: JSON.parse(process.env.CERTIFICATE_JWKS),
		};
		list.push(asking({ client_id: 'certificate-gateway', ...certified }), {
			client_id: 'certificate-app',
			grant_types: ['client_credentials'],
			response_types: [],
			redirect_uris: [],
			tls_client_certificate_bound_access_tokens: true,
			...certified,
		});
	}
	return list;
}

function signingKey() {
	const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
	return { ...privateKey.export({ format: 'jwk' }), kid: 'signing', use: 'sig', alg: 'RS256' };
}

const methods = ['client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt', 'none'];

const configuration = {
	clientAuthMethods: process.env.CERTIFICATE_JWKS ? [...methods, 'self_signed_tls_client_auth'] : methods,
	clients: clients(),
	cookies: { keys: [randomBytes(32).toString('hex')] },
	jwks: { keys: [signingKey()] },
	scopes: ['openid', 'offline_access', ...SCOPES],
	features: {
		clientCredentials: { enabled: true },
		devInteractions: { enabled: false },
		encryption: { enabled: true },
		introspection: { enabled: true },
		jwtIntrospection: { enabled: true },
		mTLS: {
			enabled: Boolean(process.env.CERTIFICATE_JWKS),
			certificateBoundAccessTokens: true,
			selfSignedTlsClientAuth: true,
			getCertificate: (ctx) => ctx.socket.getPeerX509Certificate()?.toString(), // the connection's
		},
		resourceIndicators: {
			enabled: true,
			defaultResource: () => undefined,
			getResourceServerInfo: (ctx, resource) => ({
				scope: SCOPES.join(' '),
				accessTokenFormat: RESOURCES[resource],
			}),
		},
		revocation: { enabled: true },
	},
	findAccount: (ctx, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
	interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
	pkce: { required: () => false },
	ttl: {
		AccessToken: 3600,
		AuthorizationCode: 60,
		ClientCredentials: (ctx, token, client) => (client.clientId === 'brief-app' ? 1 : 3600),
		Grant: 3600,
		IdToken: 3600,
		Interaction: 3600,
		RefreshToken: 3600,
		Session: 3600,
	},
};

// consent answers in place of the user's browser: jane signs in and agrees.
async function consent(provider, req, res) {
	const { params } = await provider.interactionDetails(req, res);
	const grant = new provider.Grant({ accountId: 'jane', clientId: params.client_id });
	grant.addOIDCScope(params.scope);
	const grantId = await grant.save();
	await provider.interactionFinished(req, res, { login: { accountId: 'jane' }, consent: { grantId } });
}

function secureServer() {
	return createSecureServer({
		cert: readFileSync(process.env.TLS_CERTIFICATE),
		key: readFileSync(process.env.TLS_KEY),
		requestCert: true,
		rejectUnauthorized: false, // nobody has to vouch for it
	});
}

const [scheme, server] = process.env.TLS_CERTIFICATE ? ['https', secureServer()] : ['http', createServer()];
server.listen(0, '127.0.0.1', () => {
	const url = `${scheme}://127.0.0.1:${server.address().port}`;
	const provider = new Provider(url, configuration);
	const answer = provider.callback();
	server.on('request', (req, res) => {
		if (req.url.startsWith('/interaction/')) {
			consent(provider, req, res).catch((error) => res.writeHead(500).end(String(error)));
			return;
		}
		answer(req, res);
	});
	console.log(url);
});
