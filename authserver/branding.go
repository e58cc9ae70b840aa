package authserver

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
)

// Branding is by what people know the server.
type Branding struct {
	// Name stands on every page, with Logo beside it. Default: nothing.
	Name string
	// Logo is an image: PNG, JPEG, WebP, GIF or SVG.
	Logo []byte
}

const (
	// MaxLogo bounds a logo, which is in every page, in bytes.
	MaxLogo = 64 << 10
	// maxBrandName bounds the name, in bytes.
	maxBrandName = 100
)

// brand is what the pages show of a Branding.
type brand struct {
	Name string
	Logo template.URL
}

func (b Branding) brand() (brand, error) {
	shown := brand{Name: b.Name}
	switch {
	case len(b.Name) > maxBrandName || !isText(b.Name):
		return shown, fmt.Errorf("branding: the name must have at most %d bytes of UTF-8 and no control characters", maxBrandName)
	case len(b.Logo) == 0:
		return shown, nil
	case b.Name == "":
		return shown, errors.New("branding: a logo needs a name, for those who do not see it")
	case len(b.Logo) > MaxLogo:
		return shown, fmt.Errorf("branding: the logo has more than %d KiB, and it is in every page", MaxLogo>>10)
	}
	kind, err := imageType(b.Logo)
	if err != nil {
		return shown, err
	}
	shown.Logo = template.URL("data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(b.Logo)) //nolint:gosec // the type is one of a few
	return shown, nil
}

// imageType is the media type of an image, as its content has it. Browsers run no script of an SVG image that is shown by
// an img element, and load nothing for it.
func imageType(image []byte) (string, error) {
	switch kind := http.DetectContentType(image); kind {
	case "image/png", "image/jpeg", "image/gif", "image/webp":
		return kind, nil
	}
	start := bytes.TrimSpace(bytes.TrimPrefix(image, []byte("\xef\xbb\xbf")))
	if bytes.HasPrefix(start, []byte("<svg")) || bytes.HasPrefix(start, []byte("<?xml")) && bytes.Contains(image, []byte("<svg")) {
		return "image/svg+xml", nil
	}
	return "", errors.New("branding: the logo must be a PNG, JPEG, WebP, GIF or SVG image")
}
