package config

// This file lists the keys of RocketMQ that have no effect here, and says why.

import "rmqctl/internal/conf"

func known() conf.Set {
	return conf.Join(conf.Set{
		conf.Unserved("aclEnable", "false", "access control is not served, and the broker would stand open"),
		conf.Unserved("enableControllerMode", "false", "failover by a controller is not served"),
		conf.Unserved("duplicationEnable", "false", "replication by DUP_INFO is not served"),
		conf.Unserved("enableSlaveActingMaster", "false", "a slave does not act as master"),
		conf.Unserved("storeType", "default", "the store is files"),
		conf.Unserved("readOnlyCommitLogStorePaths", "", "the commit log lies in one directory, and messages elsewhere would be missing"),
		conf.Unserved("enableMultiDispatch", "false", "light queues are not served"),
		conf.Unserved("enableLmq", "false", "light queues are not served"),
		conf.Unserved("useTLS", "false", "TLS is not served"),
		conf.Unserved("messageStorePlugIn", "", "Java classes cannot be loaded"),
		conf.Unserved("authenticationEnabled", "false", "access control is not served, and the broker would stand open"),
		conf.Unserved("authorizationEnabled", "false", "access control is not served, and the broker would stand open"),
	},
		conf.Knowns("goroutines are cheap: only sends and pulls have a bound", `
			ackMessageThreadPoolNums=16 ackThreadPoolQueueCapacity=100000 adminBrokerThreadPoolNums=16
			adminBrokerThreadPoolQueueCapacity=10000 batchDispatchRequestThreadPoolNums=16 clientAsyncSemaphoreValue=65535
			clientCallbackExecutorThreads= clientManageThreadPoolNums=32 clientManagerThreadPoolQueueCapacity=1000000
			clientOnewaySemaphoreValue=65535 clientWorkerThreads=4 compactionThreadNum=6 consumerManageThreadPoolNums=32
			consumerManagerThreadPoolQueueCapacity=1000000 disableCallbackExecutor=false disableNettyWorkerGroup=false dispatchCqCacheNum=4096
			dispatchCqThreads=10 dispatchFromSenderThread=false enableAsyncReput=true enableBuildConsumeQueueConcurrently=false
			enableFastChannelEventProcess=false endTransactionPoolQueueCapacity=100000 endTransactionThreadPoolNums= heartbeatThreadPoolNums=
			heartbeatThreadPoolQueueCapacity=50000 litePullMessageThreadPoolNums= litePullThreadPoolQueueCapacity=100000
			loadBalanceProcessorThreadPoolNums=32 loadBalanceThreadPoolQueueCapacity=100000 maxAsyncPutMessageRequests=5000
			processReplyMessageThreadPoolNums= putMessageFutureThreadPoolNums= putThreadPoolQueueCapacity=10000 queryMessageThreadPoolNums=
			queryThreadPoolQueueCapacity=20000 recheckReputOffsetFromCq=false recoverConcurrently=false recoverThreadPoolNums=32
			replyThreadPoolQueueCapacity=10000 searchBcqByCacheEnable=true serverAsyncSemaphoreValue=64 serverCallbackExecutorThreads=0
			serverNettyWorkerGroupEnable=true serverOnewaySemaphoreValue=256 serverSelectorThreads=3 serverWorkerThreads=8
			timerGetMessageThreadNum=3 timerPutMessageThreadNum=3`),
		conf.Knowns("a transactional message is refused, so there is none to ask about", `checkTransactionMessageEnable=true`),
		conf.Knowns("recovery always checks the sum of every body it reads", `checkCRCOnRecover=true`),
		conf.Knowns("queue files go together with the commit log files they point into", `deleteConsumeQueueFilesInterval=100`),
		conf.Knowns("only sends give up waiting for a worker", `
			waitTimeMillsInAckQueue=3000 waitTimeMillsInAdminBrokerQueue=5000 waitTimeMillsInHeartbeatQueue=31000
			waitTimeMillsInLitePullQueue=5000 waitTimeMillsInPullQueue=5000 waitTimeMillsInTransactionQueue=3000`),
		conf.Knowns("sockets and buffers are Go's and the system's", `
			clientPooledByteBufAllocatorEnable=false clientSocketRcvBufSize=0 clientSocketSndBufSize=0 enableNetWorkFlowControl=false
			serverPooledByteBufAllocatorEnable=true serverSocketBacklog=1024 serverSocketRcvBufSize=0 serverSocketSndBufSize=0
			socksProxyConfig={} useEpollNativeSelector=false writeBufferHighWaterMark=0 writeBufferLowWaterMark=0`),
		conf.Knowns("the broker's own connections use fixed times", `
			channelNotActiveInterval=60000 clientChannelMaxIdleTimeSeconds=120 clientCloseSocketIfTimeout=true connectTimeoutMillis=3000
			enableReconnectForGoAway=true maxReconnectIntervalTimeSeconds=60 scanAvailableNameSrv=true`),
		conf.Knowns("shutdown always drains", `
			enableShutdownGracefully=false shutdownWaitTimeSeconds=30`),
		conf.Knowns("files are written with plain system calls, not through mapped memory", `
			cleanSwapedMapInterval=300000 commitCommitLogLeastPages=4 commitCommitLogThoroughInterval=200 commitIntervalCommitLog=200
			commitLogForceSwapMapInterval=43200000 commitLogSwapMapInterval=3600000 commitLogSwapMapReserveFileNum=100
			dataReadAheadEnable=true fastFailIfNoBufferInStorePool=false flushLeastPagesWhenWarmMapedFile=4096
			logicQueueForceSwapMapInterval=43200000 logicQueueSwapMapInterval=3600000 logicQueueSwapMapReserveFileNum=20
			mappedFileSwapEnable=true osPageCacheBusyTimeOutMills=1000 putConsumeQueueDataByFileChannel=true transferMsgByHeap=true
			transientStorePoolEnable=false transientStorePoolSize=5 wakeCommitWhenPutMessage=true wakeFlushWhenPutMessage=false
			warmMapedFileEnable=false writeWithoutMmap=false`),
		conf.Knowns("the log has one writer, without a choice of locks", `
			debugLockEnable=false spinLockCollisionRetreatOptimalDegree=1000 topicQueueLockNum=32 useABSLock=false
			useReentrantLockWhenPutMessage=true`),
		conf.Knowns("the flusher wakes by its own rule", `
			enableRunningFlagsInFlush=false flushCommitLogTimed=true putMessageTimeout=8000`),
		conf.Knowns("the index is built while messages are dispatched", `
			messageIndexSafe=false putMsgIndexHightWater=600000`),
		conf.Knowns("there is no RocksDB", `
			bottomMostCompressionTypeForConsumeQueueStore=zstd cleanRocksDBDirtyCQIntervalMin=60 combineAssignOffsetCQType=
			combineCQEnableCheckSelf=false combineCQLoadingCQTypes=default combineCQMaxExtraSearchCommitLogFiles=3
			combineCQPreferCQType=default configManagerVersion=v1 enableRocksDBLog=false memTableFlushIntervalMs=3600000
			realTimePersistRocksDBConfig=true rocksdbCQDoubleWriteEnable=false rocksdbCompressionType=lz4 rocksdbFlushWalFrequency=1024
			rocksdbWalFileRollingThreshold=1073741824 statRocksDBCQIntervalSec=10`),
		conf.Knowns("a raft group always sends what is ready in one go", `enableBatchPush=false`),
		conf.Knowns("a raft group's log is the commit log, in storePathCommitLog", `storePathDLedgerCommitLog=`),
		conf.Knowns("there is no controller", `
			asyncLearner=false brokerElectionPriority=2147483647 brokerHeartbeatInterval=1000
			brokerNotActiveTimeoutMillis=10000 checkSyncStateSetPeriod=5000 controllerAddr= controllerHeartBeatTimeoutMills=10000
			fetchControllerAddrByDnsLookup=false haMaxTimeSlaveNotCatchup=15000 sendHeartbeatTimeoutMillis=1000
			storePathBrokerIdentity=$HOME/store/brokerIdentity storePathEpochFile=$HOME/store/epochFileCheckpoint
			syncBrokerMetadataPeriod=5000 syncControllerMetadataPeriod=10000 syncFromLastFile=false syncMasterFlushOffsetWhenStartup=false`),
		conf.Knowns("how many slaves there are shows when they connect", `totalReplicas=1`),
		conf.Knowns("checked by ours in their handshake", `maxChecksumRange=1073741824 maxSlaveResendLength=268435456`),
		conf.Knowns("readers see what the master has, and in a raft group what a majority has", `readUnCommitted=false`),
		conf.Knowns("a slave does not act as master", `
			asyncSendEnable=true cleanOfflineBrokerInterval=30000 compatibleWithOldNameSrv=true enableRemoteEscape=false
			inBrokerContainer=false loadBalancePollNameServerInterval=30000 lockInStrictMode=false skipPreOnline=false
			syncBrokerMemberGroupPeriod=1000`),
		conf.Knowns("POP is not served", `
			appendAckAsync=false appendCkAsync=false defaultMessageRequestMode=PULL defaultPopShareQueueNum=-1
			enableNotifyAfterPopOrderLockRelease=true enableNotifyBeforePopCalculateLag=true enablePopBatchAck=false
			enablePopBufferMerge=false enablePopLog=false enablePopMessageThreshold=false enablePopMetrics=true enableRetryTopicV2=false
			enableSkipLongAwaitingAck=false initPopOffsetByCheckMsgInMem=true maxPopPollingSize=100000 popCkMaxBufferSize=200000
			popCkOffsetMaxQueueSize=20000 popCkStayBufferTime=10000 popCkStayBufferTimeOut=3000 popConsumerFSServiceInit=true
			popConsumerKVServiceEnable=false popConsumerKVServiceInit=false popConsumerKVServiceLog=false popFromRetryProbability=20
			popInflightMessageThreshold=10000 popLongPollingForceNotifyInterval=800 popPollingMapExpireTimeSeconds=600
			popPollingMapSize=100000 popPollingSize=1024 popResponseReturnActualRetryTopic=false popReviveMaxAttemptTimes=16
			popReviveMaxReturnSizePerRead=16384 retrieveMessageFromPopRetryTopicV1=true reviveAckWaitMs=180000 reviveInterval=1000
			reviveMaxSlow=3 reviveQueueNum=8 reviveScanTime=10000 serverLoadBalancerEnable=true skipWhenCKRePutReachMaxTimes=false`),
		conf.Knowns("timer messages are not served", `
			allowRecallWhenBrokerNotWriteable=true disappearTimeAfterStart=-1 mappedFileSizeTimerLog=104857600 recallMessageEnable=false
			timerColdDataCheckIntervalMs=60000 timerCongestNumEachSlot=2147483647 timerEnableCheckMetrics=true
			timerEnableRetryUntilSuccess=false timerFlushIntervalMs=1000 timerInterceptDelayLevel=false timerMaxDelaySec=259200
			timerMetricSmallThreshold=1000000 timerPrecisionMs=1000 timerProgressLogIntervalMs=10000 timerRollWindowSlot=172800
			timerSkipUnknownError=false timerStopEnqueue=false timerWheelEnable=true`),
		conf.Knowns("transactions are not served", `
			transactionCheckInterval=60000 transactionCheckMax=15 transactionMetricFlushInterval=3000 transactionOpBatchInterval=3000
			transactionOpMsgMaxSize=4096 transactionTimeOut=6000`),
		conf.Knowns("messages are filtered by tag only", `
			bitMapLengthConsumeQueueExt=64 enableCalcFilterBitMap=false enableConsumeQueueExt=false enablePropertyFilter=false
			expectConsumerNumUseFilter=32 filterDataCleanTimeSpan=86400000 filterServerNums=0 filterSupportRetry=false
			mappedFileSizeConsumeQueueExt=50331648 maxConsumeQueueScan=20000 maxErrorRateOfBloomFilter=20 maxFilterMessageSize=16000
			sampleCountThreshold=5000`),
		conf.Knowns("light queues, batch queues and long topic names of 5.x are not served", `
			autoMessageVersionOnTopicLen=true enableLmqStats=false enableMixedMessageType=false enabledAppendPropCRC=false
			forceVerifyPropCRC=false mapperFileSizeBatchConsumeQueue=13800000 maxLmqConsumeQueueNum=20000 maxTopicLength=127`),
		conf.Knowns("compaction is not served", `
			compactionCqMappedFileSize=10485760 compactionMappedFileSize=104857600 compactionScheduleInternal=900000 enableCompaction=true
			maxOffsetMapSize=104857600`),
		conf.Knowns("hot and cold data are not told apart", `
			accessMessageInMemoryHotRatio=26 cgColdReadThreshold=3145728 coldCtrStrategyEnable=false coldDataFlowControlEnable=false
			coldDataScanEnable=false globalColdReadThreshold=104857600 sampleSteps=32 usePIDColdCtrStrategy=true`),
		conf.Knowns("delayed messages are delivered in order, one level after the other", `
			enableScheduleAsyncDeliver=false enableScheduleMessageStats=true maxDelayTime=40 scheduleAsyncDeliverMaxPendingLimit=2000
			scheduleAsyncDeliverMaxResendNum2Blocked=3`),
		conf.Knowns("counters are always on", `
			accountStatsEnable=true accountStatsPrintZeroValues=true autoDeleteUnusedStats=false commercialBaseCount=1 commercialBigCount=1
			commercialEnable=true commercialSizePerMsg=4096 commercialTimerCount=1 commercialTransCount=1 diskFallRecorded=true
			enableConnectionMetrics=true enableDetailStat=true enableLagAndDlqMetrics=true enableMessageStoreMetrics=true
			enableRemotingMetrics=true enableRequestMetrics=true enableStatsMetrics=true enableTransactionMetrics=true
			estimateAccumulation=true isolateLogEnable=false maxStatsIdleTimeInMinutes=-1 metricGrpcExporterIntervalInMills=60000
			metricGrpcExporterTimeOutInMills=3000 metricLoggingExporterIntervalInMills=10000 metricsExporterType=DISABLE
			metricsGrpcExporterHeader= metricsGrpcExporterTarget= metricsInDelta=false metricsLabel= metricsOtelCardinalityLimit=50000
			metricsPromExporterHost= metricsPromExporterPort=5557 printChannelGroups=false printChannelGroupsMinNum=5
			useStaticSubscription=false`),
		conf.Knowns("offsets and topics carry one plain version number", `
			broadcastOffsetExpireMaxSecond=300 broadcastOffsetExpireSecond=120 consumerOffsetUpdateVersionStep=500
			delayOffsetUpdateVersionStep=200 enableBroadcastOffsetStore=true enableSplitMetadata=true flushConsumerOffsetHistoryInterval=60000
			splitMetadataSize=2000 useServerSideResetOffset=true`),
		conf.Knowns("every change is registered at once, as RocketMQ 4.9 does", `
			enableSingleTopicRegister=false enableSplitRegistration=false splitRegistrationSize=800`),
		conf.Knowns("name servers are listed in namesrvAddr", `
			fetchNameSrvAddrByDnsLookup=false fetchNamesrvAddrByAddressServer=false fetchNamesrvAddrInterval=10000 rmqAddressServerDomain=
			rmqAddressServerSubGroup= updateNameServerAddrPeriod=120000`),
		conf.Knowns("static topics are not served", `
			forwardTimeout=3000`),
		conf.Knowns("request-reply has no topic of its own", `
			storeReplyMessageEnable=true`),
		conf.Knowns("pulls visit as many files as the answer needs", `
			pullBatchMaxMessageCount=160 travelCqFileNumWhenGetMessage=1`),
		conf.Knowns("recovery reads as far back as the checkpoint asks", `
			enableAcceleratedRecovery=false enableLogConsumeQueueRepeatedlyBuildWhenRecover=false maxRecoveryCommitlogFiles=30`),
		conf.Knowns("the store keeps its own pace when it cleans", `
			correctLogicMinOffsetForceInterval=300000 correctLogicMinOffsetSleepInterval=1 deleteFileBatchMax=10
			enableCleanExpiredOffset=false logicalDiskSpaceCleanForciblyThreshold=0.8 maxBatchDeleteFilesNum=50 replicasPerDiskPartition=1`),
		conf.Knowns("clients are dropped when their connection closes, or after 120 s of silence", `
			channelExpiredTimeout=120000 enableRegisterProducer=true realTimeNotifyConsumerChange=true rejectPullConsumerEnable=false
			subscriptionExpiredTimeout=600000`),
		conf.Knowns("paths do not depend on an installation directory", `
			brokerConfigPath= rocketmqHome=`),
		conf.Knowns("a running broker takes changes of live keys only", `
			configBlackList=configBlackList;brokerConfigPath`),
		conf.Knowns("nothing reads it", `
			clearRetryTopicWhenDeleteTopic=true enableCreateSysGroup=true highSpeedMode=false litePullMessageEnable=true
			validateSystemTopicWhenUpdateTopic=true`),
	)
}
