package process

import (
	"fmt"
	"os"

	"github.com/creack/pty"
)

// setSize tells a terminal its size; the foreground group gets SIGWINCH.
func setSize(master *os.File, size Size) error {
	if err := pty.Setsize(master, &pty.Winsize{Rows: size.Rows, Cols: size.Cols}); err != nil {
		return fmt.Errorf("resize terminal: %w", err)
	}
	return nil
}
