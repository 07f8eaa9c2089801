package carry

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
)

// ErrProtocol marks what Receiver.Add returns for a message that the sender may not send: the process that reads the medium
// is broken or an attacker's, and nothing that it sent counts.
var ErrProtocol = errors.New("carry: the messages break their own rules")

// Receiver writes what is carried into a folder. It is the receiving end of a pipe whose sender read the medium, so it
// believes nothing. After the first error every later message is refused. It is not safe for concurrent use.
type Receiver struct {
	into  *os.Root
	names map[string]string // what was made, by its name in small letters: the name, with '/' behind that of a folder
	ready bool
	file  *os.File // that data goes to
	left  int64    // bytes of it
	files int
	bytes int64
	done  *Done
	err   error
}

// NewReceiver returns a Receiver for a folder that is empty and that nobody else writes to.
func NewReceiver(into *os.Root) *Receiver {
	return &Receiver{into: into, names: map[string]string{}}
}

// Add takes the next message. An error that wraps ErrProtocol condemns the sender; any other is the folder's.
func (r *Receiver) Add(m Message) error {
	if r.err == nil {
		r.err = r.add(m)
	}
	return r.err
}

// Ready reports whether the sender said that its jail is closed.
func (r *Receiver) Ready() bool { return r.ready }

// Done returns the last message, or nil before it came.
func (r *Receiver) Done() *Done { return r.done }

// Close closes the file that is being written, if there is one.
func (r *Receiver) Close() {
	if r.file != nil {
		r.file.Close()
	}
}

func (r *Receiver) add(m Message) error {
	fields := 0
	for _, set := range []bool{m.Ready != nil, m.Progress != nil, m.File != nil, m.Data != nil, m.Done != nil} {
		if set {
			fields++
		}
	}
	switch {
	case fields != 1:
		return broken("a message with %d fields", fields)
	case r.done != nil:
		return broken("a message after the last")
	case m.Ready != nil:
		if r.ready {
			return broken("a second ready message")
		}
		r.ready = true
		return nil
	case !r.ready:
		return broken("a message before the sandbox was entered")
	case m.Progress != nil:
		if m.Progress.Read < 0 || m.Progress.Total < 0 {
			return broken("progress of %d of %d bytes", m.Progress.Read, m.Progress.Total)
		}
		return nil
	case m.File != nil:
		return r.begin(m.File)
	case m.Data != nil:
		return r.write(m.Data)
	default:
		return r.finish(m.Done)
	}
}

func (r *Receiver) begin(f *File) error {
	switch {
	case r.file != nil:
		return broken("a file before the one before it is complete")
	case CheckName(f.Name) != nil:
		return broken("a name of %d bytes that no file may have", len(f.Name))
	case f.Size < 0 || f.Size > MaxFile || f.Size > MaxBytes-r.bytes:
		return broken("a file of %d bytes after %d", f.Size, r.bytes)
	case r.files >= MaxFiles:
		return broken("more than %d files", MaxFiles)
	}
	if err := r.folders(path.Dir(f.Name)); err != nil {
		return err
	}
	if _, taken := r.names[strings.ToLower(f.Name)]; taken {
		return broken("a name for the second time")
	}
	r.names[strings.ToLower(f.Name)] = f.Name
	// What is there already was not made here, and is no place to write to.
	file, err := r.into.OpenFile(f.Name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	r.file, r.left = file, f.Size
	r.files, r.bytes = r.files+1, r.bytes+f.Size
	return r.settle()
}

// folders makes the folders that a file lies in. Two that differ in the case of their letters are one to some systems.
func (r *Receiver) folders(name string) error {
	if name == "." {
		return nil
	}
	if err := r.folders(path.Dir(name)); err != nil {
		return err
	}
	key := strings.ToLower(name)
	switch have, taken := r.names[key]; {
	case taken && have == name+"/":
		return nil
	case taken:
		return broken("a folder under a name that is taken")
	}
	r.names[key] = name + "/"
	return r.into.Mkdir(name, 0o700)
}

func (r *Receiver) write(data []byte) error {
	if r.file == nil || len(data) > MaxData || int64(len(data)) > r.left {
		return broken("%d bytes that belong to no file", len(data))
	}
	if _, err := r.file.Write(data); err != nil {
		return err
	}
	r.left -= int64(len(data))
	return r.settle()
}

// settle closes a file that is complete.
func (r *Receiver) settle() error {
	if r.left > 0 {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}

func (r *Receiver) finish(d *Done) error {
	switch {
	case d.Refused != "" && texts[d.Refused] == "":
		return broken("a refusal for no known reason")
	case d.Refused == "" && (r.file != nil || r.files == 0 || d.Files != r.files || d.Bytes != r.bytes):
		return broken("an end after %d files that is said to be after %d", r.files, d.Files)
	}
	r.done = d
	return nil
}

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrProtocol}, args...)...)
}

// Send is the sending half of the agreement: it cuts a file's bytes into messages. emit sends one message.
func Send(emit func(Message) error, data []byte) error {
	for len(data) > 0 {
		n := min(len(data), MaxData)
		if err := emit(Message{Data: data[:n]}); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}
