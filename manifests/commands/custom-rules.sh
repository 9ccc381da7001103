cd "$LABKIT_ROOT"
${helm_upgrade}
