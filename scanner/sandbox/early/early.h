// pratique_landlock_status is 1 if Landlock holds the process, 0 if it was not asked for, or minus the error number.
int pratique_landlock_status(void);
