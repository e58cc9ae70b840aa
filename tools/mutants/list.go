package main

// parts are the parts of the gateway, and their checks, in the words of docs/security.md.
var parts = []part{
	{"Proofs of possession (DPoP)", []check{
		{
			"A proof is one line",
			"dpop/proof.go", `case len(lines) > 1:`, `case false:`,
			"dpop", "TestInvalidProofs/G01 two lines",
		},
		{
			"A proof has 8 KiB at most",
			"dpop/proof.go", `case len(lines[0]) > maxProof:`, `case false:`,
			"dpop", "TestInvalidProofs/A21 too long",
		},
		{
			"A proof has a type of its own",
			"dpop/proof.go", `case header.Type != "dpop+jwt":`, `case false:`,
			"dpop", "TestInvalidProofs/G02 typ JWT",
		},
		{
			"What nobody here understands is not critical",
			"dpop/proof.go", `case header.Critical != nil || header.Encoded != nil:`, `case false:`,
			"dpop", "TestInvalidProofs/G02 crit b64",
		},
		{
			"The algorithms are asymmetric",
			"dpop/proof.go", `jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,`, `jose.HS256, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,`,
			"dpop", "TestG03_Algorithms",
		},
		{
			"A key is for its algorithm, as it says itself",
			"dpop/proof.go", `key.Algorithm != "" && key.Algorithm != string(algorithm):`, `false:`,
			"dpop", "TestInvalidProofs/G03 alg other than that of the key",
		},
		{
			"A key is for signatures",
			"dpop/proof.go", `case key.Use != "" && key.Use != "sig":`, `case false:`,
			"dpop", "TestInvalidProofs/G04 jwk for encryption",
		},
		{
			"An RSA key has 2048 bits or more",
			"dpop/proof.go", `bits >= leastRSA && bits <= mostRSA`, `bits <= mostRSA`,
			"dpop", "TestInvalidProofs/G03 RSA of 1024 bits",
		},
		{
			"The key that a proof shows is public",
			"dpop/proof.go", `_, found := header.Key[member]; found {`, `_, found := header.Key[member]; found && false {`,
			"dpop", "TestInvalidProofs/G04 jwk with d that is null",
		},
		{
			"A proof is signed by the key that it shows",
			"dpop/checker.go", `if err := p.verify(); err != nil {`, `if err := p.verify(); err != nil && false {`,
			"dpop", "TestInvalidProofs/G04 the jwk of somebody else",
		},
		{
			"A proof has a jti",
			"dpop/checker.go", `case c.ID == "" || len(c.ID) > maxID:`, `case len(c.ID) > maxID:`,
			"dpop", "TestInvalidProofs/G02 no jti",
		},
		{
			"A jti has 256 bytes at most",
			"dpop/checker.go", `case c.ID == "" || len(c.ID) > maxID:`, `case c.ID == "":`,
			"dpop", "TestInvalidProofs/G13 jti is too long",
		},
		{
			"A proof is for this method",
			"dpop/checker.go", `case c.Method == "" || c.Method != request.Method:`, `case c.Method == "":`,
			"dpop", "TestInvalidProofs/G05 htm is another",
		},
		{
			"A proof is for this URL",
			"dpop/checker.go", `case claimed != target:`, `case claimed == "":`,
			"dpop", "TestTargets/G06 another path",
		},
		{
			"URLs are brought into one spelling, and no further",
			"dpop/target.go", `if isUnreserved(c) || !escaped && isPlain(c) {`, `if isUnreserved(c) || isPlain(c) {`,
			"dpop", "TestTargets/G07 an escaped slash is not a slash",
		},
		{
			"A proof is not old",
			"dpop/checker.go", `case !now.Before(c.IssuedAt.Add(config.MaxAge)):`, `case false:`,
			"dpop", "TestInvalidProofs/G12 a minute old",
		},
		{
			"A proof is not made in store",
			"dpop/checker.go", `case c.IssuedAt.After(now.Add(config.Ahead)):`, `case false:`,
			"dpop", "TestInvalidProofs/G12 of eleven seconds from now",
		},
		{
			"A proof has not expired",
			"dpop/checker.go", `case c.Expiry != nil && !now.Before(c.Expiry.Time):`, `case false:`,
			"dpop", "TestInvalidProofs/G12 expired",
		},
		{
			"A proof is valid already",
			"dpop/checker.go", `case c.NotBefore != nil && c.NotBefore.After(now.Add(config.Ahead)):`, `case false:`,
			"dpop", "TestInvalidProofs/G12 not valid yet",
		},
		{
			"A proof is for this token",
			"dpop/checker.go", `case request.AccessToken != "" && c.TokenHash != TokenHash(request.AccessToken):`, `case false:`,
			"dpop", "TestInvalidProofs/G08 ath of another token",
		},
		{
			"A proof is made with the token's own key, before it is used up",
			"dpop/checker.go", `if request.Key != "" && request.Key != proof.JKT {`, `if false {`,
			"dpop", "TestG09_AnotherKeyUsesNothingUp",
		},
		{
			"A proof is used up only if its signature is right",
			"dpop/checker.go", `	if err := p.verify(); err != nil {`,
			`	if err := p.verify(); err != nil {
		_ = c.config.Memory.UseOnce(ctx, digestOf(proof.JKT, p.claims.ID, target), p.claims.IssuedAt.Add(c.config.MaxAge))`,
			"dpop", "TestG14_AProofThatIsNotSignedUsesNothingUp",
		},
		{
			"A proof is good once",
			"dpop/memory.go", `if _, found := used[key]; found {`, `if _, found := used[key]; found && false {`,
			"dpop", "TestG13_AProofIsGoodOnce/at once",
		},
		{
			"Nobody uses up a proof of somebody else's",
			"dpop/checker.go", `digestOf(proof.JKT, p.claims.ID, target)`, `digestOf(p.claims.ID, target)`,
			"dpop", "TestG13_AJTIBelongsToItsKeyAndURL",
		},
		{
			"A token that is not good uses up no proof",
			"policy/policy.go", `if reason := r.flaw(answer, now); reason != "" {`, `if reason := r.flaw(answer, now); reason != "" && r.judgeBinding(answer, presented).Outcome == "" {`,
			"policy", "TestG14_ABadTokenUsesNoProofUp",
		},
		{
			"Where there is no room for a proof it is refused",
			"dpop/memory.go", `if m.size >= m.limit {`, `if false {`,
			"dpop", "TestG13_AFullMemoryRefusesRatherThanForgets",
		},
		{
			"A clock that goes back makes no proof new",
			"dpop/memory.go", `if slot <= m.gone {`, `if false {`,
			"dpop", "TestG13_TheClockGoesBack",
		},
		{
			"Where nobody can tell whether a proof was used it is refused",
			"dpop/checker.go", `	case err != nil:
		return Proof{}, fmt.Errorf("%w: %w", ErrUnavailable, err)`, `	case err != nil:
		return proof, nil`,
			"dpop", "TestG13_WithoutTellingAProofIsRefused",
		},
		{
			"A nonce that is demanded is there",
			"dpop/checker.go", `if request.Nonce && !proof.HasNonce {`, `if false {`,
			"dpop", "TestG15_G16_Nonces",
		},
		{
			"Nonces are sealed under a secret",
			"dpop/nonce.go", `hmac.New(sha256.New, n.secret)`, `hmac.New(sha256.New, nil)`,
			"dpop", "TestG15_G16_Nonces",
		},
		{
			"Only the last two nonces are good",
			"dpop/nonce.go", `instant.UnixNano() / int64(nonceLife)`, `instant.UnixNano() / int64(1000*nonceLife)`,
			"dpop", "TestG15_G16_Nonces",
		},
		{
			"A token that is bound to a key is refused as Bearer",
			"policy/binding.go", `case bound.key != "" && !presented.Possession:`, `case bound.key != "" && !presented.Possession:
		return Verdict{}
	case false:`,
			"policy", "TestBinding/G10 the key, presented as Bearer",
		},
		{
			"A token that is bound to no key is refused as DPoP",
			"policy/binding.go", `case bound.key == "" && presented.Possession:`, `case false:`,
			"policy", "TestBinding/G11 no key, presented as DPoP",
		},
		{
			"A route that demands proofs takes no token that is not bound",
			"policy/binding.go", `case bound.key == "" && r.DPoP != "":`, `case false:`,
			"policy", "TestBinding/G21 demanded, and not bound",
		},
		{
			"A token that is bound by its token_type alone is refused",
			"policy/binding.go", `case bound.key == "" && strings.EqualFold(answer.TokenType(), "DPoP"):`, `case false && strings.EqualFold("", ""):`,
			"policy", "TestBoundTokens/D14 token_type DPoP without cnf, as a bearer token",
		},
		{
			"A token that is bound to a key needs its proof",
			"policy/binding.go", `	if bound.key == "" {`, `	if true {`,
			"policy", "TestBinding/G09 another key",
		},
		{
			"A cnf that is not understood refuses the token",
			"policy/binding.go", `case !understood:`, `case !understood && false:`,
			"policy", "TestBinding/D15 the thumbprint of SHA-1",
		},
		{
			"A cnf that is not understood in part refuses it, too",
			"policy/binding.go", `		default:
			return binding{}, false`, `		default:`,
			"policy", "TestBinding/D15 a member that is not understood",
		},
		{
			"The URL is the one that the client has written, before any rewrite",
			"possession.go", `method, url = original.Method, original.URL`, `_ = original`,
			"e2e", "TestDPoPBehindRewrites/G06 the path that handle_path makes",
		},
		{
			"X-Forwarded-Proto counts from trusted proxies only",
			"possession.go", `lines := r.Header["X-Forwarded-Proto"]; len(lines) > 0 && isFromProxy(r) {`, `lines := r.Header["X-Forwarded-Proto"]; len(lines) > 0 {`,
			".", "TestG06_TheURLOfARequest/a stranger says https",
		},
		{
			"The host is what Host says, and nothing else",
			"possession.go", `scheme + "://" + r.Host + url`, `scheme + "://" + append(r.Header["X-Forwarded-Host"], r.Host)[0] + url`,
			"e2e", "TestDPoPBehindAProxy/G06 a trusted proxy says https/K07 nobody says which host",
		},
		{
			"Of several directives each demands its own authority's key",
			"possession.go", `case p.proof.JKT != jkt:`, `case false:`,
			"e2e", "TestDPoPAndTwoDirectives/another key at the other authority",
		},
		{
			"Of several directives each demands its own nonce",
			"possession.go", `case nonce && !p.proof.HasNonce:`, `case false:`,
			"e2e", "TestDPoPAndTwoDirectives",
		},
		{
			"A proof is checked once for all directives of a request",
			"possession.go", `		p.checked = p.err == nil`, ``,
			"e2e", "TestDPoPAndTwoDirectives",
		},
		{
			"What was used outlives a reload",
			"authority/possession.go", `acquire(checkers, "proofs", newChecker)`, `acquire(caddy.NewUsagePool(), "proofs", newChecker)`,
			"e2e", "TestG13_AReloadForgetsNoProof",
		},
		{
			"The proof is taken out of the request",
			"visit.go", `		delete(r.Header, "Dpop")`, ``,
			"e2e", "TestStolenDPoPTokens",
		},
	}},
	{"Certificate-bound tokens", []check{
		{
			"A token that is bound to a certificate is refused with another one",
			"policy/binding.go", `return Verdict{InvalidToken, "the token is bound to another certificate"}`, ``,
			"policy", "TestBinding/H01 another certificate",
		},
		{
			"A token that is bound to a certificate is refused without any",
			"policy/binding.go", `		case "":`, `		case "":
			break`,
			"policy", "TestBinding/H01 no certificate",
		},
		{
			"A route that demands certificates takes no token that is not bound",
			"policy/binding.go", `case bound.certificate == "" && r.MTLS != "":`, `case false:`,
			"policy", "TestBinding/H01 demanded, and not bound",
		},
		{
			"Client-Cert counts from trusted proxies only",
			"possession.go", `if len(p.certificates) > 0 && isFromProxy(p.request) {`, `if len(p.certificates) > 0 {`,
			"e2e", "TestStolenCertificateBoundTokens/H05 without any, and a forged header",
		},
		{
			"Client-Cert is one line",
			"possession.go", `if len(p.certificates) > 1 {`, `if false {`,
			"e2e", "TestClientCertOfAProxy/H06 two lines",
		},
		{
			"Client-Cert has the form of RFC 9440",
			"possession.go", `if !begins || !ends || inside == "" {`, `if !begins && ends || inside == "" {`,
			"e2e", "TestClientCertOfAProxy/H06 without colons",
		},
		{
			"Client-Cert reaches no backend",
			"identity/strip.go", `	p.add("Client-Cert")
`, ``,
			"identity", "TestStripRemovesForgedHeaders/J01 J02 Client-Cert canonical",
		},
	}},
	{"Signed answers", []check{
		{
			"Plain JSON is refused",
			"introspect/response.go", `case status == http.StatusOK && c.signed != nil:`, `case status == http.StatusOK && c.signed != nil && !isJSON(response.contentType):`,
			"introspect", "TestSignedAnswersThatAreAttacks/E08 plain JSON, signed by nobody",
		},
		{
			"A signed answer has a media type of its own",
			"introspect/signed.go", `case err == nil && mediaType == signedType:`, `case err == nil && mediaType != "" && !isJSON(response.contentType):`,
			"introspect", "TestSignedAnswersThatAreAttacks/E02 a JWT of no special type",
		},
		{
			"A signed answer has a type of its own",
			"introspect/signed.go", `if strings.TrimPrefix(strings.ToLower(name), "application/") != signedTyp {`, `if name == "" {`,
			"introspect", "TestSignedAnswersThatAreAttacks/E02 an access token of the same issuer",
		},
		{
			"A signed answer has one way to be written",
			"introspect/signed.go", `if err != nil || base64.RawURLEncoding.EncodeToString(decoded[i]) != part {`, `if err != nil {`,
			"introspect", "TestSignedAnswersThatAreAttacks/broken in two lines",
		},
		{
			"The issuer has signed it",
			"introspect/signed.go", `if err := v.verify(ctx, signed); err != nil {`, `if err := v.verify(ctx, signed); err != nil && false {`,
			"introspect", "TestSignedAnswersThatAreAttacks/E05 signed by an attacker",
		},
		{
			"The algorithms are asymmetric",
			"internal/jwks/jwks.go", `var Algorithms = []jose.SignatureAlgorithm{`, `var Algorithms = []jose.SignatureAlgorithm{jose.HS256,`,
			"introspect", "TestSignedAnswersThatAreAttacks/E05 HS256 with the public key for a secret",
		},
		{
			"A header that nobody here understands is refused",
			"introspect/signed.go", `for _, name := range []string{"crit", "b64"} {`, `for _, name := range []string{"crit"} {`,
			"introspect", "TestSignedAnswersThatAreAttacks/a payload that is not encoded",
		},
		{
			"The key is the one that the answer names",
			"internal/jwks/jwks.go", `return (keyID == "" || key.KeyID == "" || key.KeyID == keyID) &&`, `return true &&`,
			"introspect", "TestSignedAnswersThatAreAttacks/E06 an unknown kid",
		},
		{
			"A key is for its algorithm, as it says itself",
			"internal/jwks/jwks.go", `		(key.Algorithm == "" || key.Algorithm == string(algorithm)) &&
`, ``,
			"introspect", "TestE06KeysOfSignedAnswers/that cannot be had are no fault of the token's",
		},
		{
			"A key is for signatures",
			"internal/jwks/jwks.go", `		case key.Use != "" && key.Use != "sig":
			continue
`, ``,
			"introspect", "TestE06KeysOfSignedAnswers/that cannot be had are no fault of the token's",
		},
		{
			"Keys that fit no signature are fetched now and then only",
			"internal/jwks/jwks.go", `return s.now().Sub(s.known.attempted) >= life`, `return doubted || s.now().Sub(s.known.attempted) >= life`,
			"introspect", "TestE06KeysOfSignedAnswers/a flood of unknown ones is a few fetches",
		},
		{
			"Keys are fetched where they are, and nowhere else",
			"internal/jwks/jwks.go", `CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },`, ``,
			"introspect", "TestE06KeysOfSignedAnswers/that cannot be had are no fault of the token's",
		},
		{
			"Keys are fetched over https",
			"introspect/signed.go", `if err := CheckURL(config.KeysURL, insecureHTTP); err != nil {`, `if false {
			var err error`,
			"introspect", "TestBadConfigurationsOfSignedAnswers",
		},
		{
			"A signed answer names its issuer",
			"introspect/signed.go", `if issuer, _ := claims.get("iss"); issuer != v.Issuer {`, `if issuer, _ := claims.get("iss"); issuer == nil {`,
			"introspect", "TestSignedAnswersThatAreAttacks/E03 of another issuer",
		},
		{
			"A signed answer is for this client",
			"introspect/signed.go", `if audience != v.Audience && !slices.Contains(names, any(v.Audience)) {`, `if audience == nil && names == nil {`,
			"introspect", "TestSignedAnswersThatAreAttacks/E03 for another client",
		},
		{
			"A signed answer is not older than the question",
			"introspect/signed.go", `case issuedAt.Before(askedAt.Truncate(time.Second).Add(-v.Leeway)):`, `case false:`,
			"introspect", "TestSignedAnswersThatAreAttacks/E07 an older answer",
		},
		{
			"A signed answer is not made ahead",
			"introspect/signed.go", `case issuedAt.After(now.Add(v.Leeway)), notBefore.After(now.Add(v.Leeway)):`, `case notBefore.After(now.Add(v.Leeway)):`,
			"introspect", "TestSignedAnswersThatAreAttacks/E07 an answer that was made ahead",
		},
		{
			"A signed answer has not expired",
			"introspect/signed.go", `case !expiresAt.IsZero() && !now.Before(expiresAt):`, `case !expiresAt.IsZero() && false:`,
			"introspect", "TestSignedAnswersThatAreAttacks/E07 one that has expired",
		},
		{
			"What is said outside of token_introspection says nothing of a token",
			"introspect/signed.go", `	answer, ok := value.(Object)`, `	answer, ok := value.(Object)
	if !ok {
		answer, ok = Object{claims}, true
	}`,
			"introspect", "TestSignedAnswersThatAreAttacks/E04 active, but only outside",
		},
		{
			"A signed answer has the jti of its token",
			"introspect/signed.go", `if !isAbout(answer.members, token) {`, `if false {`,
			"introspect", "TestSignedAnswersThatAreAttacks/an older answer about another token, by its id",
		},
		{
			"What was said unsigned is not remembered where signatures are demanded",
			"authority/signed.go", `return []string{"jwt_response", j.JWKS, j.Audience}`, `return nil`,
			"e2e", "TestSignedAnswersAreRememberedApart",
		},
	}},
	{"Signed answers that are handed on (phantom_token)", []check{
		{
			"Only authorities that sign have something to hand on",
			"phantom.go", `if !asked.Signs() {`, `if false {`,
			".", "TestJSONConfigurationsThatAreRefused/nothing signed to hand on",
		},
		{
			"What is handed on fits into a header",
			"introspect/signed.go", `if len(kept) > MaxSigned {`, `if false {`,
			"introspect", "TestSignedAnswersThatAreKept",
		},
		{
			"The header is removed from all requests first",
			"identity/headers.go", `		t.targets = append(t.targets, name)
`, ``,
			"e2e", "TestJ17PhantomToken/a forged one is removed, in every spelling and on every route",
		},
		{
			"Authorization is, where that is it",
			"module.go", `visit.clearAuthorization(r.Header)`, ``,
			"e2e", "TestJ17PhantomToken/what a client puts in its place does not reach the backend",
		},
		{
			"A second directive takes it for no token",
			"visit.go", `restore := v.hideTold(r.Header)`, `restore := func() {}`,
			"e2e", "TestJ17PhantomToken/a second directive takes it for no token, and leaves it alone",
		},
	}},
	{"Protected resources", []check{
		{
			"The resource is in the audience of a token",
			"policy/policy.go", `case r.Resource != "" && !answer.HasAudience(r.Resource):`, `case false:`,
			"policy", "TestI01Resource",
		},
		{
			"That of the route is demanded",
			"module.go", `		Resource:   h.Resource,
`, ``,
			"e2e", "TestChallengesOfAProtectedResource/I01 D08 D09 L08 attack: a token of one resource is shown to another",
		},
		{
			"A document is at its own host only",
			"resource/directory.go", `	documents := d.hosts[strings.ToLower(host)]`, `	documents := make(map[string][]byte)
	for _, all := range d.hosts {
		maps.Copy(documents, all)
	}`,
			"resource", "TestWhereDocumentsAre/F14 another host's",
		},
		{
			"A document is at its own path only",
			"resource/directory.go", `return documents[path]`, `return documents[strings.TrimSuffix(path, "/")]`,
			"resource", "TestWhereDocumentsAre/F14 a slash behind",
		},
		{
			"The path is the one that the client has sent",
			"metadata.go", `method, url = original.Method, original.URL`, `_ = original`,
			"e2e", "TestWhereMetadataAreServed/F14 attack: a path that is rewritten to that of a document",
		},
		{
			"What begins with the well-known path, and is no document, is 404",
			"metadata.go", `header.Set("Cache-Control", "no-store")`, `return false`,
			"e2e", "TestProtectedResourceMetadata/F14 L03 attack: a document that nobody has, and tricks with its path",
		},
		{
			"What the gateway enforces nobody can deny",
			"resource/description.go", `case slices.Contains(own, base):`, `case false:`,
			"resource", "TestDescriptionsThatAreRefused/F11 another requirement",
		},
		{
			"Two routes say the same of one resource",
			"resource/description.go", `ok && !slices.Equal(said, values) {`, `ok && false && !slices.Equal(said, values) {`,
			"resource", "TestTwoRoutesOfOneResource",
		},
		{
			"An identifier is https beyond loopback",
			"resource/resource.go", `case parsed.Scheme == "http" && host != "localhost" && !net.ParseIP(host).IsLoopback():`, `case false && net.ParseIP(host).IsLoopback():`,
			"resource", "TestF05TextsThatAreNoIdentifier",
		},
		{
			"A document names where to get a token",
			"resource/description.go", `if len(issuers) == 0 && len(members[memberServers]) == 0 {`, `if false {`,
			"resource", "TestDescriptionsThatAreRefused/F08 no server",
		},
	}},
	{"Step-up", []check{
		{
			"acr is one of those that are demanded",
			"policy/stepup.go", `if acr, ok := value.(string); !ok || !slices.Contains(a.ACR, acr) {`, `if _, ok := value.(string); !ok {`,
			"policy", "TestStepUp/I06 too weak",
		},
		{
			"An acr that is absent is not met",
			"policy/stepup.go", `if acr, ok := value.(string); !ok || !slices.Contains(a.ACR, acr) {`, `if acr, ok := value.(string); ok && !slices.Contains(a.ACR, acr) {`,
			"policy", "TestStepUp/I06 absent",
		},
		{
			"The user has signed in within max_age",
			"policy/stepup.go", `case now.Sub(at) > a.MaxAge:`, `case false:`,
			"policy", "TestStepUp/I07 too old",
		},
		{
			"The user has not signed in in the future",
			"policy/stepup.go", `case at.After(now.Add(leeway)):`, `case false:`,
			"policy", "TestStepUp/I07 in the future",
		},
		{
			"An auth_time that is absent is not met",
			"policy/stepup.go", `return "nobody says when the user has signed in (auth_time)"`, `return ""`,
			"policy", "TestStepUp/I07 absent",
		},
		{
			"iat does not count",
			"introspect/authtime.go", `	value, _ := a.claims.get("auth_time")`, `	value, ok := a.claims.get("auth_time")
	if !ok {
		value, _ = a.claims.get("iat")
	}`,
			"policy", "TestStepUp/I07 absent, and the token is new",
		},
		{
			"max_age is judged on remembered answers",
			"policy/policy.go", `r.Authentication.lacks(answer, now, r.Leeway)`, `r.Authentication.lacks(answer, answer.AskedAt, r.Leeway)`,
			"policy", "TestI10ARememberedAnswerGrowsOld",
		},
		{
			"Only a client with a good token hears what is demanded",
			"refusal.go", `if challenge.Error == bearer.CodeInsufficientUserAuthentication {`, `if true {`,
			"e2e", "TestStepUp/I09 attack: somebody without a token asks how to sign in",
		},
	}},
	{"Streams", []check{
		{
			"A stream ends when its token expires",
			"cache/watch.go", `	expiry := t.answer.ExpiresAt()`, `	expiry := time.Time{}`,
			"cache", "TestK10WhatIsOpenEndsWithItsToken/at its exp, to the millisecond",
		},
		{
			"A stream ends when its token is found revoked",
			"cache/watch.go", `case err == nil && !answer.Active:`, `case false:`,
			"cache", "TestK10WhatIsOpenEndsWithItsToken/when it is found revoked, before twice the time",
		},
		{
			"A stream ends when another request hears that its token is revoked",
			"cache/watch.go", `w.tokens[token.Digest()].finish(Inactive)`, `_ = token`,
			"cache", "TestWhatIsOpenEndsWhenSomebodyElseHears",
		},
		{
			"A stream ends when its token is purged",
			"cache/forget.go", `defer s.watch.Forget(selector)`, ``,
			"cache", "TestM13ATokenThatIsRevokedBeforeItsStreamBegins/after the stream has begun",
		},
		{
			"A token of which nothing is remembered when its stream begins is asked about at once",
			"cache/watch.go", `case !ok && w.remembered(token.Digest()) == nil:`, `case false:`,
			"cache", "TestM13ATokenThatIsRevokedBeforeItsStreamBegins/forgotten",
		},
		{
			"A stream ends although nobody can be asked, after as long as the operator says",
			"cache/watch.go", `t.finish(Unconfirmed)`, `t.due = time.Time{}`,
			"cache", "TestK10WhatIsOpenEndsWithItsToken/when nobody can be asked for too long",
		},
		{
			"Event streams are streams",
			"streams.go", `"text/event-stream") {`, `"text/none") {`,
			".", "TestK10WhichResponsesEndWithTheirToken/an event stream",
		},
		{
			"Upgraded connections are streams",
			"streams.go", `status == http.StatusSwitchingProtocols || connect`, `connect`,
			".", "TestK10AConnectionThatWasTakenOverEndsWithItsToken/stuck",
		},
		{
			"Ordinary responses end too, where that is demanded",
			"streams.go", `answer.ends == EndAll {`, `false {`,
			".", "TestK10WhichResponsesEndWithTheirToken/ordinary, all",
		},
		{
			"A stream ends by closing its connection",
			"streams.go", `_ = s.conn.Close() // it may be closed already`, ``,
			".", "TestK10WhichResponsesEndWithTheirToken/an event stream",
		},
		{
			"Over HTTP/2 and HTTP/3 a stream ends by resetting it",
			"streams.go", `	_ = controller.SetWriteDeadline(past)`, ``,
			".", "TestK10AnEventStreamOverHTTP3EndsWithItsToken/event stream",
		},
		{
			"A stream that outlives its configuration is asked about all the same",
			"cache/watch.go", `			w.last = asker`, `			w.last = nil`,
			"cache", "TestWhatIsOpenOutlivesReloads",
		},
		{
			"Of authorities that share a watch, the one that asks most often counts",
			"cache/watch.go", `return cmp.Compare(a.pause(), b.pause())`, `return cmp.Compare(a.pause(), a.pause())`,
			"cache", "TestK10TheStrictestSettingsCountForWhatIsOpen/one that never asks comes first",
		},
		{
			"Where that one cannot ask, another one does",
			"cache/watch.go", `if err == nil || errors.Is(err, introspect.ErrSaturated) {`, `if true {`,
			"cache", "TestK10WhoCannotAskLeavesItToOthers",
		},
		{
			"What is due is not put off by reloads",
			"cache/watch.go", `if !before.IsZero() && before.Before(t.due) {`, `if false {`,
			"cache", "TestK10WhoeverJoinsAsksAboutWhatIsOpen",
		},
		{
			"Over HTTP/3, nothing is written any more",
			"private.go", `		return 0, errEnded`, ``,
			".", "TestK10AStreamThatIsWrittenOnOverHTTP3EndsWithItsToken/piece by piece",
		},
		{
			"Over HTTP/3, what is cut off does not look whole",
			"streams.go", `		panic(http.ErrAbortHandler)`, ``,
			".", "TestK10AnEventStreamOverHTTP3EndsWithItsToken/event stream",
		},
	}},
	{"Several authorities", []check{
		{
			"A JWT is shown to the authority that it names, or to nobody",
			"authority/route.go", `	case isJWT:`, `	case isJWT && issuer != "https://c.example.com":`,
			"authority", "TestATokenIsShownToItsAuthorityOnly/C14 a JWT of a stranger that begins like tokens of the second",
		},
		{
			"A JWT of a stranger is shown to nobody, with try_each too",
			"authority/route.go", `case r.tryEach && isJWT && !slices.ContainsFunc(r.Authorities, mayVouch):`, `case r.tryEach && isJWT && !slices.ContainsFunc(r.Authorities, mayVouch) && false:`,
			"authority", "TestC14_WhomAJWTIsShownToInTurn/of a stranger",
		},
		{
			"A JWT that names nobody is shown to nobody",
			"authority/route.go", `issuer != "" && a.Issuer == issuer`, `a.Issuer == issuer`,
			"authority", "TestATokenIsShownToItsAuthorityOnly/C14 a JWT without issuer, and one authority has none",
		},
		{
			"Issuers are compared to the letter",
			"authority/route.go", `issuer != "" && a.Issuer == issuer`, `issuer != "" && strings.EqualFold(a.Issuer, issuer)`,
			"authority", "TestATokenIsShownToItsAuthorityOnly/C14 an issuer in another case",
		},
		{
			"iss is there once",
			"introspect/reader.go", `if twice || seen[name] {`, `if false && (twice || seen[name]) {`,
			"introspect", "TestUnverifiedIssuer/iss twice",
		},
		{
			"A JWT has three parts",
			"introspect/jwt.go", `if !found || strings.Contains(signature, ".") {`, `if !found || signature == "." {`,
			"introspect", "TestUnverifiedIssuer/encrypted: five parts",
		},
		{
			"token_prefix is what a token begins with",
			"authority/route.go", `strings.HasPrefix(token, prefix)`, `strings.Contains(token, prefix)`,
			"authority", "TestATokenIsShownToItsAuthorityOnly/C14 a prefix in the middle is none",
		},
		{
			"A token that may be of two authorities is shown to neither",
			"authority/route.go", `found != nil && slices.ContainsFunc(r.Authorities[last+1:], unmarked)`, `found != nil && last < 0`,
			"authority", "TestATokenIsShownToItsAuthorityOnly/C14 no prefix fits, and two authorities have none",
		},
		{
			"An answer sends a token on to no other authority",
			"authority/route.go", `range r.candidates(token) {`, `range r.Authorities {`,
			"authority", "TestATokenIsShownToItsAuthorityOnly/C14 a JWT of the first",
		},
		{
			"An authority is shown no token that is longer than it takes",
			"authority/route.go", `if len(token) > authority.MaxToken {`, `if false {`,
			"authority", "TestATokenIsShownToItsAuthorityOnly/C14 too long for its own",
		},
		{
			"Authorities that cannot be told apart are refused",
			"authority/route.go", `if err := CheckRoute(names, configs, tryEach); err != nil {`, `if err := CheckRoute(names, configs, true); err != nil {`,
			".", "TestJSONConfigurationsThatAreRefused/two names",
		},
		{
			"Authorities of the same issuer are refused",
			"authority/route.go", `case config.Issuer != "" && taken:`, `case config.Issuer != "" && taken && false:`,
			"authority", "TestIssuersAreComparedResolved",
		},
		{
			"The iss of an answer is the issuer, to the letter",
			"policy/policy.go", `return issuer == r.Issuer`, `return issuer != nil`,
			"policy", "TestIssuer/D10 another",
		},
		{
			"It is that of the authority that has answered",
			"party.go", `asked.rules.Leeway, asked.rules.Issuer = one.Leeway, one.Issuer`, `asked.rules.Leeway = one.Leeway`,
			"e2e", "TestSeveralAuthorities/D10 an authority that speaks for another one is not believed",
		},
	}},
	{"Unknown tokens", []check{
		{
			"An address that has tried too many is refused before the authority is asked",
			"introspect/unknown.go", `wait > 0 {`, `wait > 0 && false {`,
			"introspect", "TestK15UnknownTokensAreLimited/attack: one address tries many tokens",
		},
		{
			"Only what the authority calls active does not count",
			"introspect/unknown.go", `if err == nil && answer.Active {`, `if err != nil || answer.Active {`,
			"introspect", "TestK15UnknownTokensAreLimited/attack: tokens that make the authority fail count",
		},
		{
			"What is tried counts when it is asked, so that many at once gain nothing",
			"introspect/unknown.go", `	answer, err := l.next.Introspect(ctx, token)
	if err == nil && answer.Active {
		l.config.Tries.undo(from)
	}`, `	l.config.Tries.undo(from)
	answer, err := l.next.Introspect(ctx, token)
	if err != nil || !answer.Active {
		_ = l.config.Tries.begin(from, l.config.Tokens, l.config.Per, l.config.Now())
	}`,
			"introspect", "TestK15UnknownTokensAreLimited/attack: tokens at the same time",
		},
		{
			"IPv6 addresses count by /64",
			"internal/network/network.go", `ip.Prefix(64)`, `ip.Prefix(128)`,
			"introspect", "TestK15UnknownTokensAreLimited/attack: one IPv6 network has many addresses",
		},
		{
			"How many addresses are kept is bounded",
			"introspect/unknown.go", `known || len(t.networks) < maxNetworks {`, `known || len(t.networks) >= 0 {`,
			"introspect", "TestK15UnknownTokensAreLimited/attack: many networks fill the memory",
		},
		{
			"Each client counts for itself",
			"visit.go", `		token = token.From(address)`, `		token = token.From(address[:0])`,
			"e2e", "TestK15AFloodOfUnknownTokensFromOneAddress/others go on",
		},
		{
			"Whoever waits for a call is not refused for whoever began it",
			"cache/cache.go", `case introspect.IsLimited(f.err) && source == introspect.Coalesced && attempt == 1:`, `case false:`,
			"cache", "TestWhoJoinsACallIsNotLimitedForWhoBeganIt",
		},
	}},
	{"The matcher", []check{
		{
			"A request that nobody has checked is an error, for not as well",
			"matcher.go", `	if !ok {`, `	if !ok {
		return false, nil
	}
	if !ok {`,
			".", "TestK09AMatcherBeforeTheDirective/not",
		},
		{
			"A request without a good token does not match",
			"matcher.go", `if v.outcome != outcomeAllowed && v.outcome != wouldBe+outcomeAllowed {`, `if v.last().answer == nil {`,
			"e2e", "TestTheMatcher/active",
		},
	}},
	{"Identity headers", []check{
		{
			"Identity headers are removed",
			"identity/strip.go", `if p.Has(name) && !slices.Contains(told, name) {`, `if p.Has(name) && !slices.Contains(told, name) && false {`,
			"identity", "TestStripRemovesForgedHeaders/J01 J02 Remote-User canonical",
		},
		{
			"They are removed in every spelling",
			"identity/strip.go", `	return '-'`, `	return c`,
			"identity", "TestStripRemovesForgedHeaders/J01 J02 Remote-User underscores",
		},
		{
			"They are removed on every path",
			"module.go", `	h.app.Protected().Strip(r, visit.told)`, ``,
			".", "TestPreflight/K01 a true one",
		},
		{
			"Protected names are taken out of Connection",
			"identity/strip.go", `case p.Has(option) || reliedUpon(option):`, `case reliedUpon(option):`,
			"identity", "TestStripGuardsConnection/J03 after close",
		},
		{
			"So are those that the gateway relies on",
			"identity/strip.go", `case "authorization", "dpop",`, `case "dpop",`,
			"identity", "TestStripGuardsConnection/J03 Authorization",
		},
		{
			"Trailers are dropped",
			"identity/strip.go", `	r.Trailer = nil`, ``,
			"identity", "TestStripRemovesTrailers/J12 Remote-User",
		},
		{
			"An Upgrade to another HTTP is dropped",
			"identity/strip.go", `	stripUpgrade(r.Header)`, ``,
			"identity", "TestStripRefusesAnotherHTTP",
		},
		{
			"A preflight that asks for an upgrade is none",
			"module.go", ` && len(r.Header["Upgrade"]) == 0 &&`, ` &&`,
			".", "TestPreflight/K02 one that asks for a tunnel",
		},
		{
			"The directive's route is never one without a matcher",
			"caddyfile.go", `			matchers = caddy.ModuleMap{"path": everything}`, ``,
			".", "TestANamedRouteLosesNoDirective/twice",
		},
		{
			"A client's own token names no user",
			"identity/headers.go", `if name == "" && answer.Subject() != answer.ClientID() {`, `if name == "" {`,
			"identity", "TestUser/D16 the client itself",
		},
		{
			"Values are percent-encoded",
			"identity/encode.go", `return fits(percent(text, false))`, `return fits(text)`,
			"identity", "TestEncoding/J05 LF at the end",
		},
		{
			"A comma in an element of a list is, too",
			"identity/encode.go", `percent(element.(string), true)`, `percent(element.(string), false)`,
			"identity", "TestEncoding/J08 comma in an element",
		},
		{
			"A value that is too long is not cut",
			"identity/encode.go", `len(encoded) <= longestValue`, `true`,
			"identity", "TestTooLong/J10 text",
		},
		{
			"An absent claim sets no header",
			"identity/headers.go", `if ok && value != "" &&`, `if ok &&`,
			"identity", "TestEncoding/J09 null",
		},
		{
			"The token is removed from the forwarded request",
			"visit.go", `		places.Clean(r)`, ``,
			".", "TestPassToken",
		},
		{
			"The response to a token from a query or cookie is private",
			"bearer/place.go", `return p.In == InQuery || p.In == InCookie ||`, `return p.In == InCookie ||`,
			".", "TestResponsesToTokensThatCachesDoNotKnowArePrivate/A13 query by WriteHeader",
		},
		{
			"So is that to a token from a header other than Authorization",
			"bearer/place.go", `return p.In == InQuery || p.In == InCookie || p.In == InHeader && p.header() != authorization`, `return p.In == InQuery || p.In == InCookie`,
			".", "TestResponsesToTokensThatCachesDoNotKnowArePrivate/J14 another header by WriteHeader",
		},
		{
			"What a directive refuses comes to no error page as somebody",
			"refusal.go", `	v.takeBack(r.Header)`, ``,
			"e2e", "TestK09_WhatASecondDirectiveRefusesIsNobodys",
		},
		{
			"A target has a path",
			"target.go", `if !strings.HasPrefix(r.URL.Path, "/") {`, `if !strings.HasPrefix(r.URL.Path, "/") && false {`,
			"e2e", "TestK06ATargetWithoutAPath/a list of what is protected",
		},
		{
			"CONNECT is part of everything",
			"caddyfile.go", `case bytes.Equal(matchers["path"], h.JSON(caddyhttp.MatchPath{"/*"})):`, `case bytes.Equal(matchers["path"], h.JSON(caddyhttp.MatchPath{"/*"})) && false:`,
			"e2e", "TestK06ATargetWithoutAPath/everything",
		},
	}},
	{"Tokens and answers", []check{
		{
			"More than one token is refused",
			"bearer/place.go", `case err == nil && into.Token != "":`, `case false:`,
			"bearer", "TestTake/A09 header and query",
		},
		{
			"Two lines of one header are refused",
			"bearer/token.go", `	default:
		// RFC 9110 section 5.3`, `	case -1:
		// RFC 9110 section 5.3`,
			"bearer", "TestTake/bare header, twice",
		},
		{
			"What is not one token68 is refused",
			"bearer/token.go", `case !isToken68(token):`, `case false:`,
			"bearer", "TestTake/A04 cookie, malformed",
		},
		{
			"active counts only as true under that name",
			"policy/policy.go", `case !answer.Active:`, `case false:`,
			"policy", "TestActive/D02 not active",
		},
		{
			"Another JSON value than a boolean does not",
			"introspect/shape.go", `	isActive, isBool := active.(bool)`, `	isActive, isBool := active.(bool)
	if active == "true" {
		return true, nil
	}`,
			"introspect", "TestOnlyTrueUnderExactlyThatNameIsActive/D01 string",
		},
		{
			"A member is there once",
			"introspect/reader.go", `if twice || seen[name] {`, `if false && (twice || seen[name]) {`,
			"introspect", "TestOnlyTrueUnderExactlyThatNameIsActive/D03 twice",
		},
		{
			"Half characters are refused",
			"introspect/object.go", `	case hasLoneSurrogate(body):`, `	case false && hasLoneSurrogate(body):`,
			"introspect", "TestOnlyTrueUnderExactlyThatNameIsActive/D26 half a surrogate pair",
		},
		{
			"In another shape an active that is false means inactive",
			"introspect/shape.go", `plain == false {`, `plain == 0 {`,
			"introspect", "TestActiveInAnotherShape/D02 active is false, whatever else",
		},
		{
			"exp is judged on every request",
			"policy/policy.go", `case !answer.ExpiresAt().IsZero() && !now.Before(answer.ExpiresAt()):`, `case !answer.ExpiresAt().IsZero() && !answer.AskedAt.Before(answer.ExpiresAt()):`,
			"policy", "TestRememberedAnswersExpire",
		},
		{
			"leeway does not stretch exp",
			"policy/policy.go", `!now.Before(answer.ExpiresAt()):`, `!now.Add(-r.Leeway).Before(answer.ExpiresAt()):`,
			"policy", "TestDates/D04 exp a second ago, within the leeway",
		},
		{
			"nbf is judged",
			"policy/policy.go", `case answer.NotBefore().After(now.Add(r.Leeway)):`, `case false:`,
			"policy", "TestDates/D05 nbf beyond the leeway",
		},
		{
			"Refresh and ID tokens are refused",
			"policy/policy.go", `case !isAccessToken(answer):`, `case false:`,
			"policy", "TestOnlyAccessTokens/D13 token_use refresh",
		},
		{
			"A demanded audience is there",
			"policy/policy.go", `!slices.ContainsFunc(r.Audience, answer.HasAudience):`, `!slices.ContainsFunc(r.Audience, answer.HasAudience) && false:`,
			"policy", "TestAudience/D08 another",
		},
		{
			"All demanded scopes are granted",
			"policy/demand.go", `if !r.ScopeMatch.covers(granted, scope) {`, `if false {`,
			"policy", "TestScope/D11 one of two is not both",
		},
		{
			"One of any_scope is granted",
			"policy/demand.go", `if len(r.AnyScope) > 0 && !slices.ContainsFunc(r.AnyScope, covered) {`, `if slices.ContainsFunc(r.AnyScope, func(string) bool { return false && covered("") }) {`,
			"policy", "TestScope/any_scope none",
		},
		{
			"A demanded claim is there",
			"policy/demand.go", `if !claim.met(answer) {`, `if false {`,
			"policy", "TestClaims/absent",
		},
		{
			"An expression is true",
			"policy/require.go", `case result != ref.Val(types.True):`, `case result != ref.Val(types.True) && false:`,
			"policy", "TestRequire/a claim in another case",
		},
		{
			"An expression that cannot be evaluated is not met",
			"policy/require.go", `return errors.New("it cannot be evaluated")`, `return nil`,
			"policy", "TestRequire/an absent claim that must not equal",
		},
		{
			"Metadata name the issuer that was asked for, to the letter",
			"introspect/metadata.go", `got != issuer {`, `got == nil {`,
			"introspect", "TestC13MetadataThatAreNotTrusted/another host at https://as.example.com/.well-known/oauth-authorization-server/tenant",
		},
		{
			"Endpoints are https where the issuer is",
			"introspect/metadata.go", `isHTTPS(issuer) && !isHTTPS(text):`, `isHTTPS(issuer) && isHTTPS(issuer+text) && false:`,
			"introspect", "TestC13MetadataThatAreNotTrusted/endpoint http on loopback at https://as.example.com/.well-known/oauth-authorization-server/tenant",
		},
		{
			"An answer of another shape that binds its token elsewhere binds it",
			"introspect/answer.go", `answer.BoundWithin = s.bindsWithin(claims)`, `answer.BoundWithin = false`,
			"introspect", "TestD14AnAnswerOfAnotherShapeBindsItsToken/beside active",
		},
		{
			"It does so beside a cnf that is understood",
			"policy/binding.go", `if answer.BoundWithin {`, `if false {`,
			"policy", "TestD15ATokenThatIsBoundTwiceOver",
		},
		{
			"Redirects are not followed",
			"introspect/caller.go", `transport.RoundTrip(request)`, `(&http.Client{Transport: transport}).Do(request)`,
			"introspect", "TestEveryAnswerOfAnAuthority/C08 a redirect is not followed",
		},
		{
			"Endpoints are https beyond loopback",
			"introspect/client.go", `case parsed.Scheme == "http" && (insecureHTTP || isLoopback(parsed.Hostname())):`, `case parsed.Scheme == "http":`,
			".", "TestJSONConfigurationsThatAreRefused/http endpoint",
		},
	}},
	{"The memory, and authorities in trouble", []check{
		{
			"Authorities and callers share nothing that is remembered",
			"cache/cache.go", `	copy(text[:], s.prefix[:])`, ``,
			"cache", "TestAnotherAuthorityOrClientDoesNotShare",
		},
		{
			"An authority that comes back finds nothing",
			"cache/cache.go", `range []string{authority, client, rand.Text()} {`, `range []string{authority, client, rand.Text()[:0]} {`,
			"cache", "TestAStateDoesNotInherit",
		},
		{
			"Nothing is remembered beyond its exp",
			"cache/cache.go", `	if !now.Before(c.life.end(e.answer)) {`, `	if false {`,
			"cache", "TestAnActiveAnswerIsRememberedUntil",
		},
		{
			"A call that a revocation has overtaken is not remembered",
			"cache/cache.go", `case f.forgotten && f.err == nil:`, `case false:`,
			"cache", "TestM13WhatIsForgottenInFlightDoesNotComeBack/token",
		},
		{
			"An authority that does not answer is left alone",
			"introspect/guard.go", `case g.config.Failures == 0 || !b.open:`, `case true:`,
			"introspect", "TestC09TheBreaker/five failures of five tokens open it",
		},
		{
			"One token shuts out no others",
			"introspect/guard.go", ` && len(b.tokens) == differentTokens {`, ` {`,
			"introspect", "TestC09TheBreaker/fifty of one token do not",
		},
		{
			"After two refusals of the gateway's credentials nobody is asked for a while",
			"introspect/guard.go", `left > 0 {`, `left > 0 && false {`,
			"introspect", "TestB16TheCredentialsAreRefused/for two different tokens in a row: nobody is asked for 30 s",
		},
	}},
}
