// Command portcullis is Caddy with its standard modules and the whole of Portcullis.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/portcullis-gateway/portcullis"
	_ "github.com/portcullis-gateway/portcullis/authserver/postgres"
)

func main() {
	caddycmd.Main()
}
