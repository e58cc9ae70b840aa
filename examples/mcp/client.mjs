// An MCP client that is given the URL of a server and nothing else: `node client.mjs http://localhost:8080/mcp`.
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

const url = new URL(process.argv[2]);

// Where the browser comes back to.
const state = randomUUID();
const callback = createServer();
await new Promise((listening) => callback.listen(0, '127.0.0.1', listening));
const redirectUrl = `http://127.0.0.1:${callback.address().port}/callback`;
const comesBack = new Promise((resolve, reject) => {
	callback.on('request', (request, response) => {
		const { searchParams } = new URL(request.url, redirectUrl);
		response.end('You can close this window.\n');
		if (searchParams.get('state') !== state) {
			reject(new Error('the browser came back for somebody else'));
		} else if (!searchParams.get('code')) {
			reject(new Error(searchParams.get('error')));
		}
		resolve(searchParams.get('code'));
	});
});

// What the client keeps. A real one keeps it on disk.
const kept = {};
const authProvider = {
	redirectUrl,
	clientMetadata: {
		client_name: 'Example client',
		redirect_uris: [redirectUrl],
		grant_types: ['authorization_code', 'refresh_token'],
		response_types: ['code'],
		token_endpoint_auth_method: 'none',
	},
	state: () => state,
	clientInformation: () => kept.client,
	saveClientInformation: (client) => { kept.client = client; },
	tokens: () => kept.tokens,
	saveTokens: (tokens) => { kept.tokens = tokens; },
	codeVerifier: () => kept.verifier,
	saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
	redirectToAuthorization: (address) => console.log(`Open ${address}`),
};

async function connect() {
	const client = new Client({ name: 'example', version: '1.0.0' });
	const transport = new StreamableHTTPClientTransport(url, { authProvider });
	try {
		await client.connect(transport);
	} catch (error) {
		if (!(error instanceof UnauthorizedError)) {
			throw error;
		}
		await transport.finishAuth(await comesBack);
		return connect();
	}
	return client;
}

const client = await connect();
callback.close();
for (const { name } of (await client.listTools()).tools) {
	console.log(`Tool: ${name}`);
}
const { content } = await client.callTool({ name: 'who_am_i' });
console.log(content[0].text);
await client.close();
