package main

import (
	"errors"
	"path/filepath"

	"golang.org/x/sys/windows"
)

// defaultTrust is where an administrator puts the trust file. The folder comes from the system and not from the variable
// ProgramData, which whoever starts the program can set.
func defaultTrust() (string, error) {
	folder, err := windows.KnownFolderPath(windows.FOLDERID_ProgramData, windows.KF_FLAG_DEFAULT)
	if err != nil {
		return "", err
	}
	return filepath.Join(folder, "Pratique", "trust.cbor"), nil
}

// administrators refuses a trust file that somebody else put there: every user may make folders and files under
// ProgramData, but only an administrator can make one that the administrators or the system own. That others were not
// given the right to write is the installer's matter.
func administrators(path string) error {
	for _, p := range []string{path, filepath.Dir(path)} {
		info, err := windows.GetNamedSecurityInfo(p, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION)
		if err != nil {
			return err
		}
		owner, _, err := info.Owner()
		if err != nil {
			return err
		}
		if owner == nil || !owner.IsWellKnown(windows.WinBuiltinAdministratorsSid) && !owner.IsWellKnown(windows.WinLocalSystemSid) {
			return errors.New("it is not owned by the administrators")
		}
	}
	return nil
}
