package portal

var inPortuguese = map[string]string{}
