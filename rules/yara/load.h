#include <yara.h>

// pratique_load_rules loads compiled rules from memory, which it does not keep. It returns libyara's error number.
int pratique_load_rules(const void* from, size_t size, YR_RULES** rules);
