package early

// #include "early.h"
import "C"

import (
	"errors"
	"fmt"
	"syscall"
)

// Check returns nil if Landlock holds this process since before it began.
func Check() error {
	switch status := int(C.pratique_landlock_status()); {
	case status > 0:
		return nil
	case status == 0:
		return errors.New("early: landlock: it was not applied at the start of the process")
	default:
		return fmt.Errorf("early: landlock: %w", syscall.Errno(-status))
	}
}
