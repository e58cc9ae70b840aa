// Clients of openid-client, for the tests of the embedded authorization server.
//
// It does what it is told. Each line on stdin is a JSON object that either opens
// a client, which finds the server by its metadata,
//
//	{"id": 1, "open": "discovery", "as": "web", "with": {"server": "http://…", "client_id": …}}
//
// or has one that is open do something:
//
//	{"id": 2, "session": "web", "call": "refreshTokenGrant", "with": {"refresh_token": …}}
//
// For each line there is one on stdout, with the result or the exception.
//
// Needs the npm package openid-client.

import { createPrivateKey } from "node:crypto";
import { createInterface } from "node:readline";
import * as library from "openid-client";

// The server is reached over loopback only. What it signs is verified all the same.
const insecure = { execute: [library.allowInsecureRequests, library.enableNonRepudiationChecks] };

const signing = {
	RS256: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" },
	PS256: { name: "RSA-PSS", hash: "SHA-256" },
	ES256: { name: "ECDSA", namedCurve: "P-256" },
	Ed25519: { name: "Ed25519" },
};

async function authentication({ method, secret, key, alg }) {
	switch (method) {
		case "client_secret_basic":
			return library.ClientSecretBasic(secret);
		case "client_secret_post":
			return library.ClientSecretPost(secret);
		case "client_secret_jwt":
			return library.ClientSecretJwt(secret);
		case "private_key_jwt": {
			const der = createPrivateKey(key).export({ type: "pkcs8", format: "der" });
			return library.PrivateKeyJwt(await crypto.subtle.importKey("pkcs8", der, signing[alg], false, ["sign"]));
		}
		case "none":
			return library.None();
	}
}

// ways to come by a client.
const ways = {
	// The library chooses how the client authenticates, unless there is a method.
	async discovery({ server, client_id, metadata, auth, algorithm }) {
		const options = { ...insecure, algorithm };
		return library.discovery(new URL(server), client_id, metadata, auth && (await authentication(auth)), options);
	},
	async registration({ server, metadata, auth, initial_access_token }) {
		const options = { ...insecure, initialAccessToken: initial_access_token ?? undefined };
		const authenticates = auth && (await authentication(auth));
		return library.dynamicClientRegistration(new URL(server), metadata, authenticates, options);
	},
};

// granted keeps a token for requests to come.
function granted(session, tokens) {
	session.access_token = tokens.access_token;
	return { ...tokens, claims: tokens.claims() };
}

async function answered(response) {
	return { status: response.status, body: await response.text() };
}

// calls of the library, with DPoP if the client has a key, and with the token that it has got.
const calls = {
	serverMetadata: ({ config }) => config.serverMetadata(),
	clientMetadata: ({ config }) => config.clientMetadata(),
	async authorizationUrl({ config, dpop }, { parameters, pushed }) {
		const verifier = library.randomPKCECodeVerifier();
		const checks = { pkceCodeVerifier: verifier, expectedState: library.randomState() };
		const request = {
			code_challenge: await library.calculatePKCECodeChallenge(verifier),
			code_challenge_method: "S256",
			state: checks.expectedState,
			...parameters,
		};
		if (request.scope.split(" ").includes("openid")) {
			checks.expectedNonce = request.nonce = library.randomNonce();
			checks.idTokenExpected = true;
		}
		if (request.max_age !== undefined) {
			checks.maxAge = Number(request.max_age);
		}
		const url = pushed
			? await library.buildAuthorizationUrlWithPAR(config, request, dpop)
			: library.buildAuthorizationUrl(config, request);
		return { url: url.href, checks };
	},
	async authorizationCodeGrant(session, { location, form, checks, parameters }) {
		const response = form
			? new Request(location, { method: "POST", body: new URLSearchParams(form) })
			: new URL(location);
		return granted(session, await library.authorizationCodeGrant(session.config, response, checks, parameters, session.dpop));
	},
	async refreshTokenGrant(session, { refresh_token, parameters }) {
		return granted(session, await library.refreshTokenGrant(session.config, refresh_token, parameters, session.dpop));
	},
	async clientCredentialsGrant(session, { parameters }) {
		return granted(session, await library.clientCredentialsGrant(session.config, parameters, session.dpop));
	},
	fetchUserInfo: ({ config, dpop, access_token }, { subject }) =>
		library.fetchUserInfo(config, access_token, subject, dpop),
	tokenIntrospection: ({ config }, { token, parameters }) => library.tokenIntrospection(config, token, parameters),
	async tokenRevocation({ config }, { token, parameters }) {
		await library.tokenRevocation(config, token, parameters);
		return null;
	},
	endSessionUrl: ({ config }, { parameters }) => library.buildEndSessionUrl(config, parameters).href,
	async get({ config, dpop, access_token }, { url, token = access_token }) {
		return answered(await library.fetchProtectedResource(config, token, new URL(url), "GET", null, undefined, dpop));
	},
};

const sessions = new Map();

async function run(task) {
	if (!task.open) {
		return calls[task.call](sessions.get(task.session), task.with);
	}
	const config = await ways[task.open](task.with);
	const session = { config };
	if (task.with.dpop) {
		session.dpop = { DPoP: library.getDPoPHandle(config, await library.randomDPoPKeyPair(task.with.dpop)) };
	}
	sessions.set(task.as, session);
	return null;
}

for await (const line of createInterface({ input: process.stdin })) {
	const task = JSON.parse(line);
	const outcome = { id: task.id };
	try {
		outcome.result = await run(task);
	} catch (error) {
		const challenge = Array.isArray(error.cause) ? error.cause[0].parameters : {};
		outcome.exception = {
			type: error.code ?? error.name,
			error: error.error ?? challenge.error ?? "",
			text: `${error.message} ${error.error_description ?? challenge.error_description ?? ""}`.trim(),
			challenge,
		};
	}
	console.log(JSON.stringify(outcome));
}
