package authserver

import "strings"

// Words in the User-Agent header by which browsers and systems are known. The first that is there counts: most browsers
// name others, too.
var (
	browserWords = [][2]string{
		{"Edg", "Edge"},
		{"OPR/", "Opera"},
		{"SamsungBrowser/", "Samsung Internet"},
		{"Firefox/", "Firefox"},
		{"FxiOS/", "Firefox"},
		{"Chromium/", "Chromium"},
		{"CriOS/", "Chrome"},
		{"Chrome/", "Chrome"},
		{"Safari/", "Safari"},
	}
	systemWords = [][2]string{
		{"iPhone", "iPhone"},
		{"iPad", "iPad"},
		{"Android", "Android"},
		{"Windows", "Windows"},
		{"CrOS", "ChromeOS"},
		{"Macintosh", "Mac"},
		{"Linux", "Linux"},
	}
)

// deviceOf says in words what a browser says of itself, as far as that is known: nothing of its own text is shown.
func deviceOf(userAgent string) string {
	browser, system := wordOf(userAgent, browserWords), wordOf(userAgent, systemWords)
	switch {
	case browser == "" && system == "":
		return "Unknown browser"
	case browser == "":
		return "Browser on " + system
	case system == "":
		return browser
	}
	return browser + " on " + system
}

func wordOf(text string, words [][2]string) string {
	for _, word := range words {
		if strings.Contains(text, word[0]) {
			return word[1]
		}
	}
	return ""
}
