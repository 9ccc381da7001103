aws cloudwatch put-dashboard --dashboard-name ${prefix} \
    --dashboard-body ${cloudwatch/dashboard}
