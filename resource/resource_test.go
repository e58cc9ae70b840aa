package resource_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/resource"
)

func TestIdentifiers(t *testing.T) {
	for name, test := range map[string]struct{ identifier, metadata string }{
		"F02 without a path":     {"https://api.example.com", "https://api.example.com/.well-known/oauth-protected-resource"},
		"F02 with a slash":       {"https://api.example.com/", "https://api.example.com/.well-known/oauth-protected-resource"},
		"F01 with a path":        {"https://api.example.com/orders/v1", "https://api.example.com/.well-known/oauth-protected-resource/orders/v1"},
		"F03 a slash at the end": {"https://api.example.com/orders/", "https://api.example.com/.well-known/oauth-protected-resource/orders/"},
		"F03 nothing is cleaned": {"https://api.example.com/a//b/%2e/c", "https://api.example.com/.well-known/oauth-protected-resource/a//b/%2e/c"},
		"F01 with a query":       {"https://api.example.com/orders?tenant=1", "https://api.example.com/.well-known/oauth-protected-resource/orders?tenant=1"},
		"F01 only a query":       {"https://api.example.com?tenant=1", "https://api.example.com/.well-known/oauth-protected-resource?tenant=1"},
		"F16 with a port":        {"https://api.example.com:8443/mcp", "https://api.example.com:8443/.well-known/oauth-protected-resource/mcp"},
		"http on loopback":       {"http://localhost:8080/mcp", "http://localhost:8080/.well-known/oauth-protected-resource/mcp"},
		"http on IPv6 loopback":  {"http://[::1]:8080", "http://[::1]:8080/.well-known/oauth-protected-resource"},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, resource.CheckIdentifier(test.identifier))
			assert.Equal(t, test.metadata, resource.MetadataURL(test.identifier))
		})
	}
}

func TestF05TextsThatAreNoIdentifier(t *testing.T) {
	for _, text := range []string{
		"", "/orders", "api.example.com", "//api.example.com", "urn:example:orders", "https:orders", "https://", "ftp://api.example.com",
		"http://api.example.com", "http://127.0.0.1.example.com", "http://192.0.2.1", "HTTPS://api.example.com", "https://API.example.com",
		"https://api.example.com:443", "http://localhost:80/mcp", "https://api.example.com:", "https://api.example.com?",
		"https://api.example.com/#", "https://api.example.com/#a", "https://alice@api.example.com", "https://api.example.com/a b",
		"https://api.example.com/é", "https://api.example.com/\"", "https://api.example.com/{x}", "https://api.example.com/\\", "https://api.example.com/%zz",
		"https://api.example.com/\r\nX: y",
	} {
		assert.Error(t, resource.CheckIdentifier(text), "%q", text)
	}
}

func TestPathsOfDocuments(t *testing.T) {
	for path, is := range map[string]bool{
		"/.well-known/oauth-protected-resource":        true,
		"/.well-known/oauth-protected-resource/":       true,
		"/.well-known/oauth-protected-resource/../x":   true,
		"/.well-known/oauth-protected-resources":       false,
		"/.Well-Known/oauth-protected-resource":        false,
		"/.well-known/oauth%2Dprotected-resource":      false,
		"/x/.well-known/oauth-protected-resource":      false,
		"/.well-known/oauth-authorization-server":      false,
		"/.well-known/../.well-known/oauth-protected-": false,
	} {
		assert.Equal(t, is, resource.IsMetadata(path), path)
	}
}

// orders is a description of which nothing may be missing.
var orders = resource.Description{
	Resource:             "https://api.example.com/orders",
	AuthorizationServers: []string{"https://as.example.com"},
	BearerMethods:        []string{"header"},
}

func directory(t *testing.T, descriptions ...resource.Description) *resource.Directory {
	t.Helper()
	var all *resource.Directory
	for _, description := range descriptions {
		var err error
		all, err = all.With(description)
		require.NoError(t, err)
	}
	return all
}

// document reads the document of the orders.
func document(t *testing.T, descriptions ...resource.Description) map[string]any {
	t.Helper()
	var members map[string]any
	require.NoError(t, json.Unmarshal(directory(t, descriptions...).Document("api.example.com", "/.well-known/oauth-protected-resource/orders", ""), &members))
	return members
}

func TestDocuments(t *testing.T) {
	type members = map[string]any
	type list = []any
	all := orders
	all.AuthorizationServers = []string{"https://as.example.com/tenant/", "https://b.example.com"}
	all.Scopes = []string{"orders:read", "offline_access", "orders:write"}
	all.BearerMethods = []string{"header", "body", "query"}
	all.DPoPAlgorithms, all.DPoPRequired, all.CertificateBound = []string{"ES256", "EdDSA"}, true, true
	all.Members = map[string][]string{
		"resource_name": {"The orders"}, "resource_name#de": {"Die Bestellungen"}, "signed_metadata": {"a.b.c"},
		"resource_documentation": {"https://api.example.com/docs"}, "authorization_details_types_supported": {"payment"},
		"scopes_supported": {"orders:read", "orders:admin"}, "x_team": {"a", "b"}, "x_room": {"1"},
	}
	mute := orders
	mute.BearerMethods = nil
	elsewhere := orders
	elsewhere.AuthorizationServers = nil
	elsewhere.Members = map[string][]string{"authorization_servers": {"https://c.example.com"}}
	for name, test := range map[string]struct {
		description resource.Description
		want        members
	}{
		"F05 F07 nothing that is empty": {orders, members{
			"resource": orders.Resource, "authorization_servers": list{"https://as.example.com"}, "bearer_methods_supported": list{"header"},
		}},
		"F08 F09 F10 F11 F12 everything": {all, members{
			"resource": orders.Resource, "authorization_servers": list{"https://as.example.com/tenant/", "https://b.example.com"},
			"scopes_supported":                           list{"orders:read", "orders:write", "orders:admin"},
			"bearer_methods_supported":                   list{"header", "body", "query"},
			"dpop_signing_alg_values_supported":          list{"ES256", "EdDSA"},
			"dpop_bound_access_tokens_required":          true,
			"tls_client_certificate_bound_access_tokens": true,
			"resource_name":                              "The orders", "resource_name#de": "Die Bestellungen", "signed_metadata": "a.b.c",
			"resource_documentation": "https://api.example.com/docs", "authorization_details_types_supported": list{"payment"},
			"x_team": list{"a", "b"}, "x_room": "1",
		}},
		"F09 no method of RFC 6750": {mute, members{
			"resource": orders.Resource, "authorization_servers": list{"https://as.example.com"}, "bearer_methods_supported": list{},
		}},
		"F08 another server": {elsewhere, members{
			"resource": orders.Resource, "authorization_servers": list{"https://c.example.com"}, "bearer_methods_supported": list{"header"},
		}},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, test.want, document(t, test.description)) })
	}
}

func TestTwoRoutesOfOneResource(t *testing.T) {
	strict, lax := orders, orders
	strict.Scopes, strict.DPoPRequired, strict.Members = []string{"admin", "read"}, true, map[string][]string{"resource_name": {"Orders"}}
	lax.Scopes, lax.AuthorizationServers, lax.CertificateBound = []string{"read", "write"}, []string{"https://b.example.com", "https://as.example.com"}, true
	got := document(t, strict, lax)
	assert.Equal(t, []any{"admin", "read", "write"}, got["scopes_supported"])
	assert.Equal(t, []any{"https://as.example.com", "https://b.example.com"}, got["authorization_servers"])
	assert.NotContains(t, got, "dpop_bound_access_tokens_required", "not every route demands it")
	assert.Equal(t, true, got["tls_client_certificate_bound_access_tokens"])
	assert.Equal(t, "Orders", got["resource_name"])

	lax.Members = map[string][]string{"resource_name": {"Something else"}}
	_, err := directory(t, strict).With(lax)
	assert.ErrorContains(t, err, "two routes say different things of its 'resource_name'")
}

func TestDescriptionsThatAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*resource.Description)
		says   string
	}{
		"F05 no identifier":       {func(d *resource.Description) { d.Resource = "orders" }, "must be a URL"},
		"F08 no server":           {func(d *resource.Description) { d.AuthorizationServers = nil }, "no issuer"},
		"F05 another identifier":  {member("resource", "https://evil.example"), "the gateway writes it itself"},
		"F11 another requirement": {member("dpop_bound_access_tokens_required", "false"), "the gateway writes it itself"},
		"F09 other methods":       {member("bearer_methods_supported#de", "query"), "the gateway writes it itself"},
		"F07 no value":            {member("resource_name"), "needs a value"},
		"F07 an empty value":      {member("x", "a", ""), "needs a value"},
		"F12 an empty tag":        {member("resource_name#", "a"), "is empty"},
		"F12 two names":           {member("resource_name", "a", "b"), "takes one value"},
		"F11 none":                {member("resource_signing_alg_values_supported", "none"), "must not have 'none'"},
		"F11 keys over http":      {member("jwks_uri", "http://api.example.com/jwks"), "must be https"},
		"F08 a server's query":    {member("authorization_servers", "https://as.example.com?x"), "neither a query"},
		"F08 a server's address":  {member("authorization_servers", "as.example.com"), "must be a URL"},
	} {
		t.Run(name, func(t *testing.T) {
			description := orders
			test.change(&description)
			_, err := (*resource.Directory)(nil).With(description)
			assert.ErrorContains(t, err, test.says)
		})
	}
}

func member(name string, values ...string) func(*resource.Description) {
	return func(d *resource.Description) { d.Members = map[string][]string{name: values} }
}

func TestWhereDocumentsAre(t *testing.T) {
	stock, port, tenant := orders, orders, orders
	stock.Resource = "https://stock.example.com"
	port.Resource = "https://api.example.com:8443/orders"
	tenant.Resource = "https://api.example.com/orders?tenant=1"
	all := directory(t, orders, stock, port, tenant)
	const at = "/.well-known/oauth-protected-resource"
	for name, test := range map[string]struct{ host, path, query, resource string }{
		"F01":                                {"api.example.com", at + "/orders", "", orders.Resource},
		"the case of the host":               {"API.Example.com", at + "/orders", "", orders.Resource},
		"the default port":                   {"api.example.com:443", at + "/orders", "", orders.Resource},
		"a query that means nothing":         {"api.example.com", at + "/orders", "x=1", orders.Resource},
		"F01 a query that is the resource's": {"api.example.com", at + "/orders", "tenant=1", tenant.Resource},
		"F16 another port":                   {"api.example.com:8443", at + "/orders", "", port.Resource},
		"F02 no path":                        {"stock.example.com", at, "", stock.Resource},
		"F14 another host's":                 {"stock.example.com", at + "/orders", "", ""},
		"F14 nobody's host":                  {"evil.example", at + "/orders", "", ""},
		"F14 a host that begins alike":       {"api.example.com.evil.example", at + "/orders", "", ""},
		"F14 a port that nobody has":         {"api.example.com:80", at + "/orders", "", ""},
		"F14 no path where there is one":     {"api.example.com", at, "", ""},
		"F14 a path below":                   {"api.example.com", at + "/orders/7", "", ""},
		"F14 a slash behind":                 {"api.example.com", at + "/orders/", "", ""},
		"F14 a slash before":                 {"api.example.com", at + "//orders", "", ""},
		"F14 another spelling":               {"api.example.com", at + "/%6frders", "", ""},
		"F14 a query in the path":            {"api.example.com", at + "/orders%3Ftenant=1", "", ""},
		"F14 the path behind the resource":   {"api.example.com", "/orders" + at, "", ""},
		"F14 no host":                        {"", at + "/orders", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			document := all.Document(test.host, test.path, test.query)
			if test.resource == "" {
				assert.Nil(t, document)
				return
			}
			var members map[string]any
			require.NoError(t, json.Unmarshal(document, &members))
			assert.Equal(t, test.resource, members["resource"])
		})
	}
	assert.True(t, all.IsAt("Stock.example.com:443"))
	assert.False(t, all.IsAt("evil.example"))

	slash := orders
	slash.Resource = "https://stock.example.com/"
	_, err := all.With(slash)
	assert.ErrorContains(t, err, "at the same place")

	var none *resource.Directory
	assert.False(t, none.IsAt("api.example.com"))
	assert.Nil(t, none.Document("api.example.com", at, ""))
}
