package authserver_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver"
)

const (
	pngStart  = "\x89PNG\x0d\x0a\x1a\x0a"
	svgLogo   = `<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`
	webpStart = "RIFF\x00\x00\x00\x00WEBPVP8 "
)

func TestBranding(t *testing.T) {
	for name, test := range map[string]struct {
		logo, kind string
	}{
		"PNG":                   {pngStart, "image/png"},
		"JPEG":                  {"\xff\xd8\xff\xe0", "image/jpeg"},
		"GIF":                   {"GIF89a", "image/gif"},
		"WebP":                  {webpStart, "image/webp"},
		"SVG":                   {svgLogo, `image/svg\+xml`},
		"SVG with a head":       {"\xef\xbb\xbf<?xml version=\"1.0\"?>\n<!-- <html> -->\n" + svgLogo, `image/svg\+xml`},
		"as large as it may be": {pngStart + strings.Repeat("x", authserver.MaxLogo-len(pngStart)), "image/png"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newUserServer(t)
			config := userConfig(t)
			config.Branding = authserver.Branding{Name: "Example & <Sons>", Logo: []byte(test.logo)}
			f.configure(t, config)
			b := f.browser()
			pages := []page{
				b.open(t, authorization()), b.open(t, account), b.open(t, authorization("client_id", "nobody")),
				b.consentPage(t), b.open(t, account), b.open(t, authorization("scope", "x", "response_mode", "form_post")),
			}
			for _, one := range pages {
				assertGuarded(t, one)
				assert.Contains(t, one.body, "Example &amp; &lt;Sons&gt;</title>")
				assert.Regexp(t, regexp.MustCompile(`<header class="brand"><img src="data:`+test.kind+`;base64,[^"<]*" alt="">Example &amp; &lt;Sons&gt;</header>`),
					strings.ReplaceAll(one.body, "&#43;", "+"))
				assert.Contains(t, one.Header.Get("Content-Security-Policy"), "; img-src data:")
				assert.NotContains(t, one.body, "alert(1)", "attack: the image is a script")
			}
		})
	}
	t.Run("a name alone", func(t *testing.T) {
		f := newUserServer(t)
		config := userConfig(t)
		config.Branding.Name = "Example"
		f.configure(t, config)
		got := f.browser().open(t, authorization())
		assert.Contains(t, got.body, `<header class="brand">Example</header>`)
		assert.NotContains(t, got.Header.Get("Content-Security-Policy"), "img-src")
	})
	t.Run("nothing", func(t *testing.T) {
		assert.NotContains(t, newUserServer(t).browser().open(t, authorization()).body, "<header")
	})
	for name, test := range map[string]struct {
		branding authserver.Branding
		says     string
	}{
		"a logo without a name": {authserver.Branding{Logo: []byte(pngStart)}, "needs a name"},
		"a page":                {authserver.Branding{Name: "x", Logo: []byte("<!DOCTYPE html><svg></svg>")}, "must be a PNG"},
		"XML that is no image":  {authserver.Branding{Name: "x", Logo: []byte("<?xml version=\"1.0\"?><html/>")}, "must be a PNG"},
		"text":                  {authserver.Branding{Name: "x", Logo: []byte("logo")}, "must be a PNG"},
		"a byte too large":      {authserver.Branding{Name: "x", Logo: []byte(pngStart + strings.Repeat("x", authserver.MaxLogo))}, "more than 64 KiB"},
		"a long name":           {authserver.Branding{Name: strings.Repeat("x", 101)}, "at most 100 bytes"},
		"a line break":          {authserver.Branding{Name: "a\nb"}, "control characters"},
		"no text":               {authserver.Branding{Name: "\xff"}, "UTF-8"},
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			config := userConfig(t)
			config.Branding = test.branding
			_, err := authserver.New(config, nil)
			require.Error(t, err)
			assert.Contains(t, err.Error(), test.says)
		})
	}
}
