// An MCP server that knows nothing of OAuth. Who calls it, it reads in a header.
import { createServer } from 'node:http';

import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';

function tools() {
	const server = new McpServer({ name: 'orders', version: '1.0.0' });
	server.registerTool('who_am_i', { description: 'Says who calls, and what else the server was told' }, ({ requestInfo }) => {
		const { headers } = requestInfo;
		const text = `You are ${headers['remote-user']}, by way of ${headers['remote-client']}. Authorization: ${headers.authorization ?? 'none'}.`;
		return { content: [{ type: 'text', text }] };
	});
	return server;
}

const server = createServer(async (request, response) => {
	const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined });
	response.on('close', () => transport.close());
	await tools().connect(transport);
	await transport.handleRequest(request, response);
});
server.listen(Number(process.env.PORT ?? 8081), '127.0.0.1', () => {
	console.log(`MCP server on http://127.0.0.1:${server.address().port}/mcp`);
});
