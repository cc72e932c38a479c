// Package receivers holds small receivers of our deliveries, one in each
// language, that verify signatures. They are shown to integrators as they are,
// and a test runs each of them.
package receivers

import "embed"

//go:embed samples
var files embed.FS

// Sample is one receiver.
type Sample struct {
	Language string
	File     string
	Run      string // how to start it
	Code     string
}

// All returns the receivers in the order in which they are shown.
func All() []Sample {
	list := []Sample{
		{Language: "Go", File: "receiver.go.txt", Run: "go run receiver.go"},
		{Language: "JavaScript", File: "receiver.mjs", Run: "node receiver.mjs"},
		{Language: "Python", File: "receiver.py", Run: "python3 receiver.py"},
		{Language: "Java", File: "Receiver.java", Run: "java Receiver.java"},
		{Language: "C#", File: "Receiver.cs", Run: "mcs Receiver.cs && mono Receiver.exe"},
		{Language: "PHP", File: "receiver.php", Run: "php -S 127.0.0.1:4000 receiver.php"},
	}
	for i := range list {
		b, err := files.ReadFile("samples/" + list[i].File)
		if err != nil {
			panic(err) // it is embedded: a file is missing in the source
		}
		list[i].Code = string(b)
	}
	return list
}
