aws logs delete-log-group --log-group-name ${log_group}
