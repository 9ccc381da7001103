cd "$LABKIT_ROOT"
${helm_upgrade_without_rules}
