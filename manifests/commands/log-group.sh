aws logs create-log-group --log-group-name ${log_group} --tags workshop=falco-eks
aws logs put-retention-policy --log-group-name ${log_group} --retention-in-days ${retention_days}
