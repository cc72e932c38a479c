package postgres

import "testing"

func TestTranslate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, query, want string }{
		{"values are numbered", "SELECT a FROM t WHERE b = ? AND c > ?", "SELECT a FROM t WHERE b = $1 AND c > $2"},
		{"numbered values stay so", "SELECT ?1, ?2, ?1", "SELECT $1, $2, $1"},
		{"a question mark in a text is none", "SELECT '?' WHERE a = ?", "SELECT '?' WHERE a = $1"},
		{"hints are left out", "SELECT 1 FROM event INDEXED BY event_kind WHERE app = ?", "SELECT 1 FROM event WHERE app = $1"},
		{"no bytes", "UPDATE t SET a = x'' WHERE b = ?", "UPDATE t SET a = ''::bytea WHERE b = $1"},
		{"what is there is left alone", "INSERT OR IGNORE INTO t (a) VALUES (?)", "INSERT INTO t (a) VALUES ($1) ON CONFLICT DO NOTHING"},
		{"a join in a given order", "SELECT 1 FROM k CROSS JOIN endpoint p ON p.ep = k.ep", "SELECT 1 FROM k JOIN endpoint p ON p.ep = k.ep"},
		{"a list of texts", "SELECT 1 WHERE a IN (SELECT value FROM json_each(?))",
			"SELECT 1 WHERE a IN (SELECT value FROM json_array_elements_text($1::text::json) AS j(value))"},
		{"a list of places", "SELECT 1 WHERE seq IN (SELECT value FROM json_each(?))",
			"SELECT 1 WHERE seq IN (SELECT value::bigint FROM json_array_elements_text($1::text::json) AS j(value))"},
	} {
		if got := translate(tt.query); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
}

func TestGather(t *testing.T) {
	t.Parallel()
	long := make([]byte, tellMost/2)
	for i := range long {
		long[i] = 'x'
	}
	var many [][]byte
	for i := range 3 * tellAtOnce {
		many = append(many, append([]byte{byte('a' + i)}, long...))
	}
	for _, tt := range []struct {
		name    string
		changes [][]byte
		want    []string
	}{
		{"one", [][]byte{[]byte("a")}, []string{"a"}},
		{"several go together", [][]byte{[]byte("a"), []byte("b")}, []string{"a\nb"}},
		{"the same is told once", [][]byte{[]byte("a"), []byte("b"), []byte("a")}, []string{"a\nb"}},
		{"what was left out stands for everything", [][]byte{[]byte("a"), nil}, []string{""}},
		{"long ones go apart", [][]byte{many[0], many[1]}, []string{string(many[0]), string(many[1])}},
		{"too many stand for everything", many, []string{""}},
	} {
		got := gather(tt.changes)
		if len(got) != len(tt.want) {
			t.Errorf("%s: got %d notifications, want %d", tt.name, len(got), len(tt.want))
			continue
		}
		for i := range got {
			if string(got[i]) != tt.want[i] {
				t.Errorf("%s: got %.20q, want %.20q", tt.name, got[i], tt.want[i])
			}
			if len(got[i]) > tellMost {
				t.Errorf("%s: got %d bytes, want at most %d", tt.name, len(got[i]), tellMost)
			}
		}
	}
}
