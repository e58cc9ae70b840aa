#!/usr/bin/env bash
# Makes DPoP proofs (RFC 9449) with an Ed25519 key in client.pem, which it makes if there is none.
#
#	./proof.sh thumbprint
#	./proof.sh <method> <url> <access token> [<nonce>]
set -euo pipefail

base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
sha256() { openssl dgst -sha256 -binary | base64url; }

[ -e client.pem ] || openssl genpkey -algorithm ed25519 -out client.pem
x=$(openssl pkey -in client.pem -pubout -outform DER | tail -c 32 | base64url)
jwk='{"crv":"Ed25519","kty":"OKP","x":"'$x'"}'

if [ "$1" = thumbprint ]; then
	printf %s "$jwk" | sha256
	exit
fi

claims='"jti":"'$(openssl rand -hex 16)'","htm":"'$1'","htu":"'$2'","iat":'$(date +%s)',"ath":"'$(printf %s "$3" | sha256)'"'
[ -z "${4-}" ] || claims+=',"nonce":"'$4'"'
signed=$(printf %s '{"typ":"dpop+jwt","alg":"EdDSA","jwk":'"$jwk"'}' | base64url).$(printf %s "{$claims}" | base64url)

input=$(mktemp)
trap 'rm -f "$input"' EXIT
printf %s "$signed" >"$input"
printf '%s.%s\n' "$signed" "$(openssl pkeyutl -sign -rawin -inkey client.pem -in "$input" | base64url)"
