package portal

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// assets are the static files. Each goes by a name that holds a hash of its
// content, so a browser may keep it for ever.
type assets struct {
	byName map[string]asset  // by the name with the hash
	names  map[string]string // plain name → name with the hash
}

type asset struct {
	kind    string
	content []byte
}

func loadAssets(tree fs.FS) (assets, error) {
	a := assets{byName: map[string]asset{}, names: map[string]string{}}
	entries, err := fs.ReadDir(tree, "assets")
	if err != nil {
		return a, err
	}
	kinds := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	for _, e := range entries {
		content, err := fs.ReadFile(tree, "assets/"+e.Name())
		if err != nil {
			return a, err
		}
		sum, ext := sha256.Sum256(content), path.Ext(e.Name())
		hashed := strings.TrimSuffix(e.Name(), ext) + "." + hex.EncodeToString(sum[:8]) + ext
		a.byName[hashed], a.names[e.Name()] = asset{kinds[ext], content}, hashed
	}
	return a, nil
}

func (a assets) serve(w http.ResponseWriter, r *http.Request) {
	f, ok := a.byName[r.PathValue("name")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", f.kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(f.content)))
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(f.content) // a browser that has gone misses nothing
}
