// An MCP client that is given the URL of a server and nothing else: `node client.mjs http://localhost:8080/mcp`.
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

const url = new URL(process.argv[2]);

// Where the browser comes back to: a free port of this computer (RFC 8252). Others can come there too, and are not heard.
let state;
let comesBack;
const callback = createServer((request, response) => {
	const [path, query] = request.url.split('?');
	const answer = new URLSearchParams(query);
	if (path !== '/callback' || !state || answer.get('state') !== state) {
		response.writeHead(404).end('Nobody waits for this.\n');
		return;
	}
	state = undefined;
	response.end('You can close this window.\n');
	callback.emit('answer', answer);
});
callback.listen(0, '127.0.0.1');
await once(callback, 'listening');
const redirectUrl = `http://127.0.0.1:${callback.address().port}/callback`;

// What the client keeps. A real one keeps it on disk.
let kept = {};
const authProvider = {
	redirectUrl,
	clientMetadata: {
		client_name: 'Example client',
		redirect_uris: [redirectUrl],
		grant_types: ['authorization_code', 'refresh_token'],
		response_types: ['code'],
		token_endpoint_auth_method: 'none',
	},
	state: () => (state = randomUUID()),
	clientInformation: () => kept.client,
	saveClientInformation: (client) => { kept.client = client; },
	tokens: () => kept.tokens,
	saveTokens: (tokens) => { kept.tokens = tokens; },
	codeVerifier: () => kept.verifier,
	saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
	// What the authorization server does not know any more is not used again.
	invalidateCredentials: (what) => {
		if (what === 'all') {
			kept = {};
		}
		delete kept.tokens;
	},
	redirectToAuthorization: (address) => {
		comesBack = once(callback, 'answer');
		console.log(`Open ${address}`);
	},
};

// signedIn does something, and once more after the user has signed in if that is what it takes.
async function signedIn(doIt) {
	const transport = new StreamableHTTPClientTransport(url, { authProvider });
	try {
		return await doIt(transport);
	} catch (error) {
		if (!(error instanceof UnauthorizedError)) {
			throw error;
		}
	}
	const [answer] = await comesBack;
	if (!answer.get('code')) {
		console.error(`You are not signed in: ${answer.get('error')}`);
		process.exit(1);
	}
	await transport.finishAuth(answer.get('code'));
	return doIt(new StreamableHTTPClientTransport(url, { authProvider }));
}

async function callTool(transport) {
	const client = new Client({ name: 'example', version: '1.0.0' });
	await client.connect(transport);
	for (const { name } of (await client.listTools()).tools) {
		console.log(`Tool: ${name}`);
	}
	const { content } = await client.callTool({ name: 'who_am_i' });
	console.log(content[0].text);
	await client.close();
}

await signedIn(callTool);
console.log('Press Enter to call again, or Control-D to end.');
for await (const _ of createInterface({ input: process.stdin })) {
	await signedIn(callTool);
}
callback.close();
callback.closeAllConnections();
