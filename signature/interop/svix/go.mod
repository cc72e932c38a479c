// The official Go verifier of Svix. It is a module of its own, so that the
// program drags none of it.
module github.com/consentwire/consentwire/signature/interop/svix

go 1.26.0

require github.com/svix/svix-webhooks v1.44.0

require gopkg.in/validator.v2 v2.0.1 // indirect
