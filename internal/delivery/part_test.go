package delivery

import (
	"fmt"
	"testing"
)

func TestPartOf(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		part, parts int
		want        Endpoint
	}{{1, 0, "sub_1"}, {1, 1, "sub_1"}, {1, 2, "sub_1/1of2"}, {32, 32, "sub_1/32of32"}} {
		got := PartOf("sub_1", tt.part, tt.parts)
		if got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
		if whole, part, parts := got.Split(); whole != "sub_1" || part != tt.part || parts != max(1, tt.parts) {
			t.Errorf("%s: got it split into %s, %d, %d", got, whole, part, parts)
		}
	}
	for _, e := range []Endpoint{"", "sub_1", "sub_1/", "sub_1/of", "sub_1/0of2", "sub_1/3of2", "sub_1/1of33", "sub_1/xofy"} {
		if whole, part, parts := e.Split(); whole != e || part != 1 || parts != 1 {
			t.Errorf("%s: got it split into %s, %d, %d, want it whole", e, whole, part, parts)
		}
	}
}

// TestEndpoint_Hears: each subject is one part's, and the parts are of about the
// same size.
func TestEndpoint_Hears(t *testing.T) {
	t.Parallel()
	for _, parts := range []int{1, 2, 3, 7, 32} {
		of := make([]int, parts)
		const n = 32_000
		for i := range n {
			heard := 0
			for k, e := range Parts("sub_1", parts) {
				if e.Hears(fmt.Sprintf("ctz_%d", i)) {
					of[k]++
					heard++
				}
			}
			if heard != 1 {
				t.Fatalf("%d parts: got a subject heard by %d of them", parts, heard)
			}
		}
		for k, got := range of {
			if want := n / parts; got < want*8/10 || got > want*12/10 {
				t.Errorf("part %d of %d: got %d subjects, want about %d", k+1, parts, got, want)
			}
		}
	}
	// MD5("ctz_1") begins with these bytes; a database must come to the same.
	if !PartOf("sub_1", 1+0x2fea%7, 7).Hears("ctz_1") {
		t.Error("got another part than that of the first two bytes of the MD5")
	}
}
