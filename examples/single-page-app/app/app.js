const issuer = "http://localhost:8080";
const api = "http://localhost:8080/orders";
const clientID = "shop";
const scope = "orders";
const redirectURI = location.origin + "/";

// The tokens are nowhere but here, so that they are gone with the page, and no other script finds them in a storage.
let tokens = null;

// metadata asks the authorization server where its endpoints are (RFC 8414).
async function metadata() {
	const answer = await fetch(issuer + "/.well-known/oauth-authorization-server");
	const server = await answer.json();
	if (server.issuer !== issuer) {
		throw new Error("The metadata are those of another server.");
	}
	return server;
}

function base64url(bytes) {
	return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function random() {
	return base64url(crypto.getRandomValues(new Uint8Array(32)));
}

// signIn sends the browser to the authorization server. What ties the answer to this tab waits in its session storage.
async function signIn() {
	const request = { verifier: random(), state: random() };
	sessionStorage.setItem("request", JSON.stringify(request));
	const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(request.verifier));
	const server = await metadata();
	location.assign(server.authorization_endpoint + "?" + new URLSearchParams({
		response_type: "code",
		client_id: clientID,
		redirect_uri: redirectURI,
		scope,
		state: request.state,
		code_challenge: base64url(new Uint8Array(digest)),
		code_challenge_method: "S256",
	}));
}

// comeBack takes the answer with which the browser was sent back.
async function comeBack(answer) {
	const request = JSON.parse(sessionStorage.getItem("request"));
	sessionStorage.removeItem("request");
	if (request === null || answer.get("state") !== request.state || answer.get("iss") !== issuer) {
		throw new Error("That was no answer to a request of this tab. Sign in again.");
	}
	if (answer.has("error")) {
		throw new Error("You are not signed in: " + answer.get("error"));
	}
	await fetchTokens({
		grant_type: "authorization_code",
		code: answer.get("code"),
		redirect_uri: redirectURI,
		code_verifier: request.verifier,
	});
	await showOrders();
}

async function fetchTokens(parameters) {
	const server = await metadata();
	const answer = await fetch(server.token_endpoint, {
		method: "POST",
		body: new URLSearchParams({ client_id: clientID, ...parameters }),
	});
	const body = await answer.json();
	if (!answer.ok) {
		tokens = null;
		throw new Error("You are not signed in any more: " + body.error);
	}
	tokens = body;
}

let refreshing = null;

// refresh fetches other tokens, once for all calls that wait: a refresh token is good once.
function refresh() {
	refreshing ??= fetchTokens({ grant_type: "refresh_token", refresh_token: tokens.refresh_token })
		.finally(() => { refreshing = null; });
	return refreshing;
}

// call sends a request to the API, with another token if this one is no good any more.
async function call(url) {
	const send = () => fetch(url, { headers: { Authorization: "Bearer " + tokens.access_token } });
	let answer = await send();
	if (answer.status === 401) {
		await refresh();
		answer = await send();
	}
	return answer;
}

async function showOrders() {
	const answer = await call(api);
	if (!answer.ok) {
		throw new Error(`The API says ${answer.status} ${answer.headers.get("WWW-Authenticate") ?? ""}`);
	}
	says.textContent = await answer.text();
}

// signOut gives up what this page was authorized to do (RFC 7009), and then ends the user's session.
async function signOut() {
	const server = await metadata();
	await fetch(server.revocation_endpoint, {
		method: "POST",
		body: new URLSearchParams({ client_id: clientID, token: tokens.refresh_token }),
	});
	tokens = null;
	location.assign(server.end_session_endpoint);
}

const says = document.getElementById("says");
const buttons = { "sign-in": signIn, orders: showOrders, "sign-out": signOut };

// attempt does something, and says why it did not work.
async function attempt(something) {
	try {
		says.textContent = "…";
		await something();
	} catch (error) {
		says.textContent = error.message;
	}
	for (const id of Object.keys(buttons)) {
		document.getElementById(id).hidden = (id === "sign-in") === (tokens !== null);
	}
}

for (const [id, action] of Object.entries(buttons)) {
	document.getElementById(id).addEventListener("click", () => attempt(action));
}

const answer = new URLSearchParams(location.search);
if (answer.has("state") || answer.has("code") || answer.has("error")) {
	history.replaceState(null, "", redirectURI); // the code is in no history and no bookmark
	attempt(() => comeBack(answer));
}
