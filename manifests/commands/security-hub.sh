aws securityhub enable-security-hub --no-enable-default-standards --tags workshop=falco-eks
