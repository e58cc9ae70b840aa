package shim

import (
	"fmt"
	"io"
	"os"

	"github.com/portcullis-gateway/portcullis/authserver"
)

// Branding is what the pages of the server show beside what they are for.
type Branding struct {
	// The name that people know the server by.
	Name string `json:"name,omitempty"`
	// An image file of 64 KiB at most: PNG, JPEG, WebP, GIF or SVG. It is read when the configuration is loaded.
	Logo string `json:"logo,omitempty"`
}

func (b *Branding) logo() ([]byte, error) {
	if b == nil || b.Logo == "" {
		return nil, nil
	}
	file, err := os.Open(b.Logo)
	if err != nil {
		return nil, fmt.Errorf("branding: %w", err)
	}
	defer file.Close()
	image, err := io.ReadAll(io.LimitReader(file, authserver.MaxLogo+1))
	if err != nil {
		return nil, fmt.Errorf("branding: %w", err)
	}
	if len(image) == 0 {
		return nil, fmt.Errorf("branding: %s is empty", b.Logo)
	}
	return image, nil
}
