package run

// engines are what this build runs, by the name of the provider.
var engines = map[string]engine{"local": local{}, "bubblewrap": bubblewrap{}}
