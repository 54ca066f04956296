package process

func guardSession(int)   {}
func guardRemains(int)   {}
func unguardSession(int) {}
