module github.com/consentwire/consentwire

go 1.26.0

require github.com/gofrs/uuid/v5 v5.5.1 // indirect
